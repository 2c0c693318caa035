"""A clock that jumps from one event to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Events:
    """Runs what is due in the order of time, then of being asked for, so that a seed gives one course of things."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._asked = 0

    def at(self, time: float, action: Callable[[Any], None], subject: Any = None) -> None:
        self._asked += 1
        heapq.heappush(self._heap, (time, self._asked, action, subject))

    def after(self, seconds: float, action: Callable[[Any], None], subject: Any = None) -> None:
        self.at(self.now + seconds, action, subject)

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """From `seconds` on."""

        def again(_: Any) -> None:
            action()
            self.after(seconds, again)

        self.after(seconds, again)

    def run(self, until: float) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, action, subject = pop(heap)
            self.count += 1
            action(subject)
        self.now = until
