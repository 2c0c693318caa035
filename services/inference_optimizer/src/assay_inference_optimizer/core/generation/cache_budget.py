"""How many bytes of keys and values may be held at once, over all models of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from assay.errors import ResourceExhausted

RETRY_AFTER_S = 1.0


class CacheBudget:
    """Bytes are reserved before they are allocated. `make_room` is asked to free idle ones where they do not suffice.

    make_room: given the bytes lacking, frees what nobody uses by calling `release`; called without the lock.
    """

    def __init__(self, limit_bytes: int, make_room: Callable[[int], None] = lambda lacking: None) -> None:
        self.limit_bytes = limit_bytes
        self._make_room = make_room
        self._lock = threading.Lock()
        self._reserved = 0

    @property
    def reserved_bytes(self) -> int:
        return self._reserved

    def reserve(self, size: int, what: str) -> None:
        """ResourceExhausted, with a time to try again where the bytes would fit an empty cache."""
        if size > self.limit_bytes:
            raise ResourceExhausted(
                f"{what} takes {size:,} bytes of keys and values, and there are {self.limit_bytes:,} in all; shorten "
                "it, or ask for fewer new tokens",
                reason="CACHE_BUDGET",
            )
        for attempt in range(2):
            with self._lock:
                lacking = self._reserved + size - self.limit_bytes
                if lacking <= 0:
                    self._reserved += size
                    return
            if attempt == 0:
                self._make_room(lacking)
        raise ResourceExhausted(
            f"{what} takes {size:,} bytes of keys and values, and {self.limit_bytes - self._reserved:,} of "
            f"{self.limit_bytes:,} are free; try again when others have ended",
            reason="CACHE_BUDGET",
            retry_after_s=RETRY_AFTER_S,
        )

    @contextmanager
    def held(self, size: int, what: str) -> Iterator[None]:
        """`reserve`, for the length of a block."""
        self.reserve(size, what)
        try:
            yield
        finally:
            self.release(size)

    def release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size
