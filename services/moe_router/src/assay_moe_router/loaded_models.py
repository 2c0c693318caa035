"""Models, and texts in their tokens, kept in memory between steps; each is lent to one step at a time, because
counting hooks into a model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

LoadedT = TypeVar("LoadedT")


class LoadedModels:
    """At most `limit` idle instances, the longest unused dropped first. Steps side by side get an instance each."""

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._idle: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, key: str, load: Callable[[], LoadedT]) -> Iterator[LoadedT]:
        """The instance under `key`, an idle one or a new one from `load`; it is idle again after the block."""
        instance = self._take(key)
        if instance is None:
            instance = load()
        try:
            yield instance
        finally:
            with self._lock:
                self._idle[key, id(instance)] = instance
                while len(self._idle) > self._limit:
                    self._idle.popitem(last=False)

    def _take(self, key: str) -> Any:
        with self._lock:
            for name in reversed(self._idle):
                if name[0] == key:
                    return self._idle.pop(name)
        return None
