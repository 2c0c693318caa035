"""Models, and texts in their tokens, kept in memory between steps; each is lent to one step at a time, because
counting hooks into a model."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from assay.models.windows import Windows
from assay_moe_router.core.export import BalancedModel

LoadedT = TypeVar("LoadedT", bound=nn.Module | BalancedModel | Windows)

IDLE_SHARE_OF_MEMORY = 0.25


class LoadedModels:
    """Idle instances of at most `limit_bytes` together, the longest unused dropped first.

    The latest stays whatever its size: the next step most likely wants it, and it fitted into memory a moment ago.
    Steps side by side get an instance each.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._limit_bytes = int(memory * IDLE_SHARE_OF_MEMORY) if limit_bytes is None else limit_bytes
        self._idle: OrderedDict[tuple[str, int], nn.Module | BalancedModel | Windows] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, key: str, load: Callable[[], LoadedT]) -> Iterator[LoadedT]:
        """The instance under `key`, an idle one or a new one from `load`; it is idle again after the block."""
        instance: LoadedT | None = self._take(key)  # type: ignore[assignment] # a key holds what its load gave
        if instance is None:
            instance = load()
        try:
            yield instance
        finally:
            with self._lock:
                self._idle[key, id(instance)] = instance
                while len(self._idle) > 1 and sum(map(held_bytes, self._idle.values())) > self._limit_bytes:
                    self._idle.popitem(last=False)

    def _take(self, key: str) -> nn.Module | BalancedModel | Windows | None:
        with self._lock:
            for name in reversed(self._idle):
                if name[0] == key:
                    return self._idle.pop(name)
        return None


def held_bytes(loaded: nn.Module | BalancedModel | Windows) -> int:
    """Of the tensors it keeps in memory."""
    if isinstance(loaded, Windows):
        return loaded.ids.nbytes
    if isinstance(loaded, BalancedModel):
        return held_bytes(loaded.model) + loaded.plan.bytes_after
    return sum(tensor.nbytes for tensors in (loaded.parameters(), loaded.buffers()) for tensor in tensors)
