"""Models in memory, as many as fit a number of bytes; the longest unused makes room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from assay.errors import ResourceExhausted

RETRY_AFTER_S = 2.0


class Sized(Protocol):
    @property
    def weight_bytes(self) -> int: ...


ModelT = TypeVar("ModelT", bound=Sized)


@dataclass
class _Held(Generic[ModelT]):
    model: ModelT
    users: int = 0
    unwanted: bool = False


class ModelPool(Generic[ModelT]):
    """A model in use is never dropped; one that is unwanted goes when its last user has ended."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._held: OrderedDict[str, _Held[ModelT]] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return self._used()

    def loaded(self) -> Sequence[ModelT]:
        with self._lock:
            return [held.model for held in self._held.values() if not held.unwanted]

    @contextmanager
    def use(self, key: str, size: Callable[[], int], load: Callable[[], ModelT]) -> Iterator[ModelT]:
        """The model under `key`, loaded where it is not; stays in memory during the block.

        size: bytes it will take, asked before it is loaded. ResourceExhausted where it does not fit.
        """
        held = self._take(key)
        if held is None:
            with self._loading:  # one at a time: two at once could not both make room
                held = self._take(key) or self._bring(key, size(), load)
        try:
            yield held.model
        finally:
            with self._lock:
                held.users -= 1
                if held.unwanted and not held.users:
                    self._held.pop(key, None)

    def drop(self, key: str) -> bool:
        """Whether it was there."""
        with self._lock:
            held = self._held.get(key)
            if held is None or held.unwanted:
                return False
            held.unwanted = True
            if not held.users:
                del self._held[key]
            return True

    def _take(self, key: str) -> _Held[ModelT] | None:
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                held.users += 1
                held.unwanted = False
                self._held.move_to_end(key)
            return held

    def _bring(self, key: str, size: int, load: Callable[[], ModelT]) -> _Held[ModelT]:
        self._make_room(size)
        held = _Held(load(), users=1)
        with self._lock:
            self._held[key] = held
        return held

    def _make_room(self, size: int) -> None:
        if size > self.limit_bytes:
            raise ResourceExhausted(
                f"model: takes {size:,} bytes, and there are {self.limit_bytes:,} for models; give the engine more "
                "memory, or use a smaller model",
                reason="MODEL_BUDGET",
            )
        with self._lock:
            left = self.limit_bytes - sum(held.model.weight_bytes for held in self._held.values() if held.users)
            if size > left:  # known before any idle one goes
                raise ResourceExhausted(
                    f"model: takes {size:,} bytes, and the models in use leave {left:,} of {self.limit_bytes:,}; try "
                    "again when they are idle",
                    reason="MODEL_BUDGET",
                    retry_after_s=RETRY_AFTER_S,
                )
            for key in [key for key, held in self._held.items() if not held.users]:
                if self._used() + size <= self.limit_bytes:
                    return
                del self._held[key]

    def _used(self) -> int:
        return sum(held.model.weight_bytes for held in self._held.values())
