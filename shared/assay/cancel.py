"""Stopping work: a token that is polled wherever work can stop (per layer, block or shard)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from assay.errors import Cancelled, DeadlineExceeded


class CancelToken:
    """Cancelled by a call of `cancel()` or by its deadline passing; safe to share between threads.

    deadline_s: seconds on `time.time()`'s clock, None for no deadline. The wall clock is used because a
    deadline travels between machines.
    """

    def __init__(self, deadline_s: float | None = None) -> None:
        self.deadline_s = deadline_s
        self._cancelled = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Asks the work to stop and runs the callbacks; a second call does nothing."""
        with self._lock:
            if self._cancelled.is_set():
                return
            self._cancelled.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Runs `callback` once on cancel (at once if already cancelled): for work that cannot poll."""
        with self._lock:
            if not self._cancelled.is_set():
                self._callbacks.append(callback)
                return
        callback()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set() or self.expired

    @property
    def expired(self) -> bool:
        return self.deadline_s is not None and time.time() >= self.deadline_s

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, never negative; None where there is no deadline."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.time())

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded once the work should stop."""
        if self._cancelled.is_set():
            raise Cancelled()
        if self.expired:
            raise DeadlineExceeded()

    def wait(self, seconds: float) -> bool:
        """Sleeps up to `seconds`, or until cancelled; says whether the work should stop."""
        remaining = self.remaining_s()
        self._cancelled.wait(seconds if remaining is None else min(seconds, remaining))
        return self.cancelled
