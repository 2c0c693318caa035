"""A service's fronts: how they relay calls, how many they let in, and the HPA that adds some."""

from __future__ import annotations

from collections.abc import Callable

from assay.capacity.events import Events
from assay.capacity.hpa import SYNC_S, Hpa
from assay.capacity.specification import Front

READY_S = 10.0  # from HPA's decision to a ready front: assumed
SLOW_S = 0.1  # a call that waits longer for its front's core


class Fronts:
    """Callers take them in turn. One asyncio loop each: a core at most, whatever the pod may use."""

    def __init__(self, front: Front, events: Events, met: Callable[[str], None], added: Callable[[], None]) -> None:
        self.front, self.events, self.met, self.added = front, events, met, added
        self.cost_s = 1 / front.calls_per_core_s
        self.ready = front.replicas
        self.coming = 0
        self.free_at: list[float] = []
        self.in_flight: list[int] = []
        self.running: list[int] = []
        self.hpa = Hpa(front.replicas, front.max_replicas, front.cpu * front.cpu_percent / 100)
        self._turn = 0
        self._work_s = 0.0
        self._backlog_s = 0.0
        self._grow()
        events.every(SYNC_S, self._sync)

    def next(self) -> int:
        self._turn = (self._turn + 1) % self.ready
        return self._turn

    def relay(self, number: int) -> float:
        """When the front's core gets to a call that comes now."""
        now = self.events.now
        begin = max(now, self.free_at[number])
        self.free_at[number] = begin + self.cost_s
        self._work_s += self.cost_s
        if begin - now > SLOW_S:
            self.met("front_cpu")
        return begin

    def _sync(self) -> None:
        now = self.events.now
        backlog = sum(max(0.0, free - now) for free in self.free_at)
        used = (self._work_s + self._backlog_s - backlog) / SYNC_S
        self._work_s, self._backlog_s = 0.0, backlog
        wanted = self.hpa.sync(now, self.ready, self.coming, used)
        have = self.ready + self.coming
        if wanted > have:
            self.coming += wanted - have
            self.events.after(READY_S, self._begin, wanted - have)
        elif wanted < self.ready and not self.coming:
            self.ready = wanted
            self._turn %= wanted

    def _begin(self, count: int) -> None:
        self.coming -= count
        self.ready += count
        self._grow()

    def _grow(self) -> None:
        while len(self.free_at) < self.ready:
            self.free_at.append(self.events.now)
            self.in_flight.append(0)
            self.running.append(0)
            self.added()
