"""Calls, the replicas that answer them, and the choice between replicas."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.capacity.batching import Batch
    from assay.capacity.events import Events

WAITING, RUNNING, ENDED = range(3)


class Call:
    """work: seconds of a step, or turns of an answer. owner: the operation it is a step of, None for a caller's own.

    came_by: the front; front: whose HAProxy chose the replica.
    """

    __slots__ = ("arrived", "began", "came_by", "deadline", "front", "owner", "replica", "state", "work")

    def __init__(self, arrived: float, work: float, deadline: float, front: int, owner: Any = None) -> None:
        self.arrived, self.work, self.deadline, self.front, self.owner = arrived, work, deadline, front, owner
        self.came_by = front
        self.began = arrived
        self.state = WAITING
        self.replica: Replica | None = None


class Replica(ABC):
    """One replica on one pod. `open` counts what it holds, waiting or running; `done(call, ok)` is told of each end."""

    def __init__(self, events: Events, places: int, done: Callable[[Call, bool], None]) -> None:
        self.events, self.places, self.done = events, places, done
        self.queue: deque[Call] = deque()
        self.running: dict[Call, None] = {}
        self.open = 0
        self.busy_s = 0.0
        self.alive = True
        # Of whoever keeps replicas.
        self.state = 0
        self.home: Any = None
        self.pod: Any = None
        self.group = -1
        self._busy_since = 0.0

    def take(self, call: Call) -> None:
        call.replica = self
        self.open += 1
        if len(self.running) < self.places:
            self._begin(call)
        else:
            self.queue.append(call)
            if call.deadline < 1e17:
                self.events.at(call.deadline, self._give_up, call)

    def end(self) -> list[Call]:
        """Stops at once; what it held, for whoever wants to send it elsewhere."""
        self.alive = False
        held = [*self.running, *(call for call in self.queue if call.state == WAITING)]
        if self.running:
            self.busy_s += self.events.now - self._busy_since
        self.running.clear()
        self.queue.clear()
        self.open = 0
        return held

    def busy_until(self, now: float) -> float:
        """Seconds with something running so far."""
        return self.busy_s + (now - self._busy_since if self.running else 0.0)

    def _begin(self, call: Call) -> None:
        if not self.running:
            self._busy_since = self.events.now
        call.state, call.began = RUNNING, self.events.now
        self.running[call] = None
        self._start(call)

    def _finish(self, call: Call, ok: bool) -> None:
        del self.running[call]
        call.state = ENDED
        self.open -= 1
        queue = self.queue
        if not self.running:
            self.busy_s += self.events.now - self._busy_since
        while queue and len(self.running) < self.places:
            waiting = queue.popleft()
            if waiting.state == WAITING:
                self._begin(waiting)
        self.done(call, ok)

    def _give_up(self, call: Call) -> None:
        if call.state == WAITING and call.replica is self and self.alive:
            call.state = ENDED
            self.open -= 1
            self.done(call, False)

    @abstractmethod
    def _start(self, call: Call) -> None:
        """Sees to it that `_finish` is called when the call's work is done."""


class StepReplica(Replica):
    """Each step takes its own time, whatever runs beside it; a call's deadline cuts it."""

    def _start(self, call: Call) -> None:
        self.events.at(min(self.events.now + call.work, call.deadline), self._over, call)

    def _over(self, call: Call) -> None:
        if self.alive and call.state == RUNNING:
            self._finish(call, self.events.now >= call.began + call.work - 1e-9)


class BatchReplica(Replica):
    """All that run share the turns: one clock that counts turns, and the call whose last turn is nearest.

    A deadline ends the wait for a place; an answer once begun is finished.
    """

    def __init__(
        self, events: Events, batch: Batch, prompt: float, answer: float, done: Callable[[Call, bool], None]
    ) -> None:
        super().__init__(events, batch.most, done)
        self._turn_s = [batch.turn_s]
        for held in range(1, batch.most + 1):
            self._turn_s.append(1 / batch.turns_per_s(held, prompt, answer))
        self._turns = 0.0
        self._counted = 0.0
        self._ends: list[tuple[float, int, Call]] = []
        self._number = 0
        self._version = 0

    def _start(self, call: Call) -> None:
        self._count(len(self.running) - 1)
        self._number += 1
        heapq.heappush(self._ends, (self._turns + call.work, self._number, call))
        self._ask()

    def _count(self, held: int) -> None:
        now = self.events.now
        if held > 0:
            self._turns += (now - self._counted) / self._turn_s[held]
        self._counted = now

    def _ask(self) -> None:
        self._version += 1
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._turns)
            self.events.after(left * self._turn_s[len(self.running)], self._over, self._version)

    def _over(self, version: int) -> None:
        if not self.alive or version != self._version:
            return
        self._count(len(self.running))
        call = heapq.heappop(self._ends)[2]
        version = self._version
        self._finish(call, True)
        if version == self._version:  # nobody took the place and asked anew
            self._ask()


class LeastOpen:
    """Replicas by how many calls were sent to them and not yet ended; ties by chance. All in constant time.

    HAProxy's `leastconn`, of one HAProxy: others' calls are unknown to it. It breaks ties in turn; where each begins
    its turns is not known, and chance stands for that. Did all begin with the same replica, as after a reload
    (https://github.com/haproxy/haproxy/issues/1282), their calls would meet there.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rows: list[list[Replica]] = [[]]
        self._open: dict[Replica, int] = {}
        self._place: dict[Replica, int] = {}
        self._low = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, replica: Replica) -> None:
        self._put(replica, 0)

    def remove(self, replica: Replica) -> None:
        if replica in self._open:
            self._take(replica)

    def least(self) -> Replica | None:
        """One of those with the fewest, None where there is none."""
        if not self._open:
            return None
        while not (row := self._rows[self._low]):
            self._low += 1
        return row[int(self._random.random() * len(row))] if len(row) > 1 else row[0]

    def sent(self, replica: Replica) -> None:
        self._put(replica, self._take(replica) + 1)

    def ended(self, replica: Replica) -> None:
        if replica in self._open:
            self._put(replica, self._take(replica) - 1)

    def _take(self, replica: Replica) -> int:
        """Out of its row, whose last takes its place."""
        count, place = self._open.pop(replica), self._place.pop(replica)
        row = self._rows[count]
        last = row.pop()
        if last is not replica:
            row[place] = last
            self._place[last] = place
        return count

    def _put(self, replica: Replica, count: int) -> None:
        if count == len(self._rows):
            self._rows.append([])
        row = self._rows[count]
        self._open[replica], self._place[replica] = count, len(row)
        row.append(replica)
        self._low = min(self._low, count)
