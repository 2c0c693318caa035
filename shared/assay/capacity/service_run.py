"""One service while it is simulated: calls and operations from their fronts to their ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from random import Random

from assay.capacity.events import Events
from assay.capacity.front import Fronts
from assay.capacity.line import ENDED, BatchReplica, Call, Replica, StepReplica
from assay.capacity.nodes import NodePool, parts_of
from assay.capacity.outcome import Tally
from assay.capacity.ray_cluster import NEVER, RayCluster, Told
from assay.capacity.specification import Cluster, ServiceNeeds
from assay.capacity.times import times_of

RETRY_S = 2.0  # RETRY_AFTER_S of shared/assay/engine/on_serve.py
DELETION_DELAY_S = 300.0  # engine.upgrade.deletionDelaySeconds


class Operation:
    """left: steps not yet sent."""

    __slots__ = ("active", "arrived", "front", "left")

    def __init__(self, arrived: float, steps: int) -> None:
        self.arrived, self.left = arrived, steps
        self.active = 0
        self.front = 0


class ServiceRun:
    """warmup_s: calls that come before are counted, their times are not kept."""

    def __init__(
        self,
        needs: ServiceNeeds,
        cluster: Cluster,
        pool: NodePool,
        events: Events,
        seed: str,
        met: Callable[[str, str], None],
        *,
        load: float,
        initial: int,
        warmup_s: float,
    ) -> None:
        self.needs, self.cluster, self.pool, self.events = needs, cluster, pool, events
        self.warmup_s = warmup_s
        self.tally = Tally()
        self.waiting_operations: deque[Operation] = deque()
        self._bound = met
        self._order = Random(f"{seed}/{needs.name}/order")
        self._clusters: list[RayCluster] = []
        self._closed_busy_s = 0.0
        self.fronts = Fronts(needs.front, events, self._met, self._front_added)
        self.active = self._new_cluster(initial, warm=True)
        calls, operations = needs.calls, needs.operations
        if calls is not None:
            mean = calls.answer_tokens if needs.batch is not None else calls.step_s
            self._work = times_of(Random(f"{seed}/{needs.name}/work"), mean, calls.step_scv)
            self._deadline_s = calls.deadline_s
            self._calls = calls.arrivals(Random(f"{seed}/{needs.name}/calls"), load)
            self._next_call()
        if operations is not None:
            self._step = times_of(Random(f"{seed}/{needs.name}/steps"), operations.step_s, operations.step_scv)
            self._operations = operations.arrivals(Random(f"{seed}/{needs.name}/operations"), load)
            self._next_operation()

    def _met(self, bound: str) -> None:
        self._bound(bound, self.needs.name)

    # Calls.

    def _next_call(self) -> None:
        self._ask(self._calls, self._call_comes)

    def _ask(self, times: Iterator[float], action: Callable[[None], None]) -> None:
        if (time := next(times, None)) is not None:
            self.events.at(time, action)

    def _call_comes(self, _: None) -> None:
        self._next_call()
        now, fronts = self.events.now, self.fronts
        self.tally.arrived += 1
        number = fronts.next()
        if fronts.in_flight[number] >= fronts.front.in_flight:
            self.tally.refused += 1
            self._met("front_refuses")
            return
        fronts.in_flight[number] += 1
        self.tally.open += 1
        call = Call(now, next(self._work), now + self._deadline_s, number)
        begin = fronts.relay(number)
        if begin <= now:
            self.active.send(call)
        else:
            self.events.at(begin, self._relayed, call)

    def _relayed(self, call: Call) -> None:
        self.active.send(call)

    def _ended(self, call: Call, ok: bool) -> None:
        if call.replica is not None:
            call.replica.home.ended(call)
        if call.owner is not None:
            self._step_ended(call.owner)
            return
        self.fronts.in_flight[call.came_by] -= 1
        tally, now = self.tally, self.events.now
        tally.open -= 1
        if ok:
            tally.served += 1
        else:
            tally.late += 1
        if call.arrived >= self.warmup_s:
            # Whoever gave up waiting has waited until then.
            tally.waits.append((call.began if ok or call.began > call.arrived else now) - call.arrived)
            if ok:
                tally.answers.append(now - call.arrived)

    def _lost(self, calls: list[Call]) -> None:
        """Callers are told UNAVAILABLE; operations do the step again."""
        for call in calls:
            call.state = ENDED
            if call.owner is not None:
                self.tally.steps_redone += 1
                self.active.send(Call(self.events.now, next(self._step), NEVER, call.came_by, call.owner))
                continue
            self.fronts.in_flight[call.came_by] -= 1
            self.tally.open -= 1
            self.tally.lost += 1

    def _refused(self, call: Call) -> None:
        """ENGINE_BUSY: callers are told so, operations try again."""
        self._met("engine_busy")
        if call.owner is not None:
            self.events.after(RETRY_S, self._relayed, call)
            return
        self.fronts.in_flight[call.came_by] -= 1
        self.tally.open -= 1
        self.tally.refused += 1

    # Operations.

    def _next_operation(self) -> None:
        self._ask(self._operations, self._operation_comes)

    def _operation_comes(self, _: None) -> None:
        self._next_operation()
        assert self.needs.operations is not None
        self.tally.operations += 1
        self.tally.operations_open += 1
        self.waiting_operations.append(Operation(self.events.now, self.needs.operations.steps))
        self._run_waiting()

    def _run_waiting(self) -> None:
        fronts, operations = self.fronts, self.needs.operations
        assert operations is not None
        while self.waiting_operations:
            number = min(range(fronts.ready), key=lambda each: fronts.running[each])
            if fronts.running[number] >= fronts.front.running:
                self._met("front_operations")
                return
            operation = self.waiting_operations.popleft()
            operation.front = number
            fronts.running[number] += 1
            for _ in range(min(operations.at_once, operation.left)):
                self._send_step(operation)

    def _send_step(self, operation: Operation) -> None:
        operation.left -= 1
        operation.active += 1
        call = Call(self.events.now, next(self._step), NEVER, operation.front, operation)
        self.events.at(self.fronts.relay(operation.front), self._relayed, call)

    def _step_ended(self, operation: Operation) -> None:
        self.tally.steps_done += 1
        operation.active -= 1
        if operation.left:
            self._send_step(operation)
        elif not operation.active:
            self.fronts.running[operation.front] -= 1
            self.tally.operations_done += 1
            self.tally.operations_open -= 1
            if operation.arrived >= self.warmup_s:
                self.tally.operation_s.append(self.events.now - operation.arrived)
            self._run_waiting()

    # Clusters.

    def upgrade(self, _: object = None) -> None:
        """NewCluster: a second cluster at the least replicas; when it is ready all calls go there, the first one goes.

        Serve begins a new application at min_replicas, whatever the old one had come to. None: the old one goes first.
        """
        old = self.active
        new = self._new_cluster(self.needs.scaling.min_replicas, warm=False)

        def switch() -> None:
            self.active = new
            for call in old.hand_over():
                new.send(call)
            self.events.after(DELETION_DELAY_S, lambda _: self._close(old))

        if self.needs.upgrade == "None":
            self.active = new
            self._close(old)
        elif new.target == 0:
            switch()
        else:
            new.on_ready = switch

    def _close(self, cluster: RayCluster) -> None:
        cluster.close()
        self._closed_busy_s += cluster.gone_busy_s
        self._clusters.remove(cluster)

    def _new_cluster(self, initial: int, *, warm: bool) -> RayCluster:
        cluster = RayCluster(
            self.needs.name, self.needs.scaling, self.cluster, self.pool, parts_of(self.pool.pool, self.needs),
            self.events, self._make, Told(self._ended, self._refused, self._lost, self._met), self._order,
            fronts=len(self.fronts.free_at), initial=initial, warm=warm,
        )  # fmt: skip
        self._clusters.append(cluster)
        return cluster

    def _front_added(self) -> None:
        for cluster in self._clusters:
            cluster.add_front()

    def _make(self) -> Replica:
        calls, batch = self.needs.calls, self.needs.batch
        if batch is not None and calls is not None:
            return BatchReplica(self.events, batch, calls.prompt_tokens, calls.answer_tokens, self._ended)
        return StepReplica(self.events, self.needs.slots, self._ended)

    def count(self) -> tuple[int, int, int]:
        """Replicas ready and wanted, and pods, over all clusters."""
        return (
            sum(len(cluster.ready) for cluster in self._clusters),
            sum(cluster.target for cluster in self._clusters),
            sum(len(cluster.pods) for cluster in self._clusters),
        )

    def largest(self) -> int:
        """Pods of the largest Ray cluster, its head among them."""
        return 1 + max((len(cluster.pods) for cluster in self._clusters), default=0)

    def busy_s(self) -> float:
        return self._closed_busy_s + sum(cluster.busy_s() for cluster in self._clusters)
