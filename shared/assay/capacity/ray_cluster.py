"""One Ray cluster with one Serve application: replicas on worker pods, and the two autoscalers that move them.

Serve's controller decides how many replicas there should be; a replica without a pod is demand for Ray's autoscaler,
which asks KubeRay for pods, at most `launches` each time it looks; pods wait for nodes in their pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from assay.capacity.events import Events
from assay.capacity.line import ENDED, WAITING, Call, LeastOpen, Replica
from assay.capacity.nodes import NodePool, Pod
from assay.capacity.serve_policy import ServePolicy, mean_of_reports
from assay.capacity.specification import Cluster, Scaling

# Reports of replicas that began at the same time of their intervals are added up.
GROUPS = 8
TICK_S = 1.0  # Serve looks every 0.1 s; its delays are by the clock, so looking less often adds at most this
WITHOUT_POD, LOADING, READY, DRAINING, GONE = range(5)
NEVER = 1e18


@dataclass(frozen=True)
class Told:
    """Whom a cluster tells: of a call that ended without a replica, or was not taken, of lost ones, of a bound met."""

    ended: Callable[[Call, bool], None]
    refused: Callable[[Call], None]
    lost: Callable[[list[Call]], None]
    met: Callable[[str], None]


@dataclass
class Report:
    """What the replicas of one group send: their open calls now, and the points that the controller was sent."""

    open: float = 0.0
    kept: deque[tuple[float, float]] | None = None
    sent: tuple[tuple[float, float], ...] = ()


class RayCluster:
    """fronts: how many HAProxies choose between the replicas, each for itself; with shared routing there is one line.

    initial: replicas to begin with; warm: they are ready at time 0. `on_ready` is called when as many are as wanted.
    """

    def __init__(
        self,
        name: str,
        scaling: Scaling,
        cluster: Cluster,
        pool: NodePool,
        parts: int,
        events: Events,
        make: Callable[[], Replica],
        told: Told,
        random: Random,
        *,
        fronts: int,
        initial: int,
        warm: bool,
    ) -> None:
        self.name, self.scaling, self.cluster, self.pool, self.parts = name, scaling, cluster, pool, parts
        self.events, self.make, self.told = events, make, told
        self.policy = ServePolicy(
            scaling.min_replicas, scaling.max_replicas, scaling.ongoing, scaling.upscale_delay_s,
            scaling.downscale_delay_s,
        )  # fmt: skip
        self.target = initial
        self.replicas: dict[Replica, None] = {}
        self.ready: dict[Replica, None] = {}
        self.pods: dict[Pod, None] = {}
        self.idle: dict[Pod, None] = {}
        self.launching: dict[Pod, None] = {}
        self.unplaced: dict[Replica, None] = {}
        self.parked: deque[Call] = deque()
        self.shared: deque[Call] = deque()
        self.random = random
        self.chooser = [LeastOpen(random) for _ in range(1 if cluster.routing == "shared" else fronts)]
        self.on_ready: Callable[[], None] | None = None
        self.live = True
        self.gone_busy_s = 0.0
        self._reports = [Report(kept=deque()) for _ in range(GROUPS)]
        self._next_group = 0
        self._newest = deque[float]()
        self._newest_counted = 0.0
        record_s = min(0.2 * scaling.look_back_s, scaling.metrics_interval_s)
        for number, report in enumerate(self._reports):
            events.after(record_s * number / GROUPS, self._record, (report, record_s))
            events.after(scaling.metrics_interval_s * number / GROUPS, self._send, report)
        events.after(TICK_S, self._decide)
        events.after(cluster.update_s, self._update)
        self._warm = warm
        self._meet_target()
        # KubeRay makes a group's first pods without being asked by Ray's autoscaler.
        self._launch(initial)

    # Calls.

    def send(self, call: Call) -> None:
        """To the replica that the call's HAProxy chooses; without replicas it waits in Serve's own proxy."""
        chooser = self.chooser[call.front % len(self.chooser)]
        replica = chooser.least()
        if replica is None:
            self.parked.append(call)
        elif self.cluster.routing == "shared" and replica.open >= replica.places:
            self.shared.append(call)
            self._reports[0].open += 1
        else:
            waiting = replica.open - self.scaling.max_ongoing
            if 0 <= self.scaling.max_queued <= waiting:
                self.told.refused(call)
                return
            chooser.sent(replica)
            self._take(replica, call)
            return
        if call.deadline < NEVER:
            self.events.at(call.deadline, self._expire, call)

    def ended(self, call: Call) -> None:
        """A replica's call is over, one way or the other."""
        replica = call.replica
        assert replica is not None
        chooser = self.chooser[call.front % len(self.chooser)]
        chooser.ended(replica)
        self._count(replica, -1)
        if replica.state == DRAINING and replica.open == 0:
            self._end(replica)
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Calls of the shared line to free places; parked ones as Serve's own proxy does, while replicas take them."""
        chooser = self.chooser[0]
        for line, most in ((self.shared, 0), (self.parked, self.scaling.max_ongoing)):
            while line and (free := chooser.least()) is not None and free.open < (most or free.places):
                waiting = line.popleft()
                if line is self.shared:
                    self._reports[0].open -= 1
                if waiting.state == WAITING:
                    # Its HAProxy is Serve's proxy; which front it came from no longer matters.
                    waiting.front = 0
                    chooser.sent(free)
                    self._take(free, waiting)

    def _expire(self, call: Call) -> None:
        if call.state == WAITING and call.replica is None:
            call.state = ENDED
            self.told.ended(call, False)

    def add_front(self) -> None:
        if self.cluster.routing == "shared":
            return
        chooser = LeastOpen(self.random)
        for replica in self.ready:
            chooser.add(replica)
        self.chooser.append(chooser)

    def _take(self, replica: Replica, call: Call) -> None:
        replica.take(call)
        self._count(replica, 1)

    def _count(self, replica: Replica, change: int) -> None:
        """Keeps the group's sum of what its replicas would report; `change` has happened to replica.open already."""
        if replica.group >= 0:
            most = self.scaling.max_ongoing
            seen = min(replica.open, most) - min(replica.open - change, most)
            self._reports[replica.group].open += seen

    # Serve's autoscaler.

    def _record(self, subject: tuple[Report, float]) -> None:
        report, again_s = subject
        if self.live:
            assert report.kept is not None
            report.kept.append((self.events.now, report.open))
            while report.kept[0][0] < self.events.now - self.scaling.look_back_s:
                report.kept.popleft()
            self.events.after(again_s, self._record, subject)

    def _send(self, report: Report) -> None:
        if self.live:
            report.sent = tuple(report.kept or ())
            self.events.after(self.scaling.metrics_interval_s, self._send, report)

    def total(self) -> float:
        """Open calls as Serve's controller is told."""
        while self._newest and self._newest[0] <= self.events.now - self.scaling.metrics_interval_s:
            self._newest_counted = self._newest.popleft()
        # A replica that has joined opens the window with its own first point.
        begun = (((self._newest_counted, 0.0),),) if self._newest_counted else ()
        seen = mean_of_reports([*(report.sent for report in self._reports), *begun], self.events.now)
        return seen + len(self.parked)

    def _decide(self, _: object) -> None:
        if not self.live:
            return
        ready = len(self.ready)
        total = self.total() if ready else float(sum(call.state == WAITING for call in self.parked))
        target = self.policy.decide(self.events.now, ready, self.target, total)
        if target == self.scaling.max_replicas and total / self.scaling.ongoing > target:
            self.told.met("max_replicas")
        if target != self.target:
            self.target = target
            self._meet_target()
        self.events.after(TICK_S, self._decide)

    def _meet_target(self) -> None:
        wanted = [replica for replica in self.replicas if replica.state != DRAINING]
        for _ in range(self.target - len(wanted)):
            replica = self.make()
            replica.home = self
            self.replicas[replica] = None
            self.unplaced[replica] = None
            self._give_pods()
        surplus = len(wanted) - self.target
        if surplus <= 0:
            return
        # First what is not ready yet, the latest first; then the emptiest.
        unready = [replica for replica in wanted if replica.state < READY][::-1]
        for replica in [*unready, *sorted(self.ready, key=lambda replica: replica.open)][:surplus]:
            if replica.state < READY:
                self._end(replica)
            else:
                self._drain(replica)

    def _give_pods(self) -> None:
        while self.idle and self.unplaced:
            pod, replica = self.idle.popitem()[0], next(iter(self.unplaced))
            del self.unplaced[replica]
            replica.state, replica.pod = LOADING, pod
            pod.idle_since = None
            self.events.after(0.0 if self._is_warm() else self.scaling.load_s, self._loaded, (replica, pod))

    def _loaded(self, subject: tuple[Replica, Pod]) -> None:
        replica, pod = subject
        if replica.state != LOADING or replica.pod is not pod:
            return
        replica.state = READY
        self.ready[replica] = None
        for chooser in self.chooser:
            chooser.add(replica)
        self._newest.append(self.events.now)
        # Its first report comes with the second push: the first one finds nothing recorded.
        self.events.after(self.scaling.metrics_interval_s, self._join_group, replica)
        if self.on_ready is not None and len(self.ready) >= self.target:
            self.on_ready()
            self.on_ready = None
        self._send_waiting()

    def _join_group(self, replica: Replica) -> None:
        if replica.state == READY:
            replica.group = self._next_group
            self._next_group = (self._next_group + 1) % GROUPS
            self._reports[replica.group].open += min(replica.open, self.scaling.max_ongoing)

    def _leave_group(self, replica: Replica, held: int) -> None:
        if replica.group >= 0:
            self._reports[replica.group].open -= min(held, self.scaling.max_ongoing)
            replica.group = -1

    def _drain(self, replica: Replica) -> None:
        replica.state = DRAINING
        self.ready.pop(replica, None)
        for chooser in self.chooser:
            chooser.remove(replica)
        self._leave_group(replica, replica.open)
        if replica.open == 0:
            self._end(replica)
        else:
            self.events.after(self.scaling.drain_s, self._cut, replica)

    def _cut(self, replica: Replica) -> None:
        if replica.state == DRAINING:
            self._end(replica)

    def _end(self, replica: Replica, *, pod_lost: bool = False) -> None:
        """The replica is no more; its pod stays, idle, for whoever is next."""
        pod, held = replica.pod, replica.open
        self._leave_group(replica, held)
        replica.state = GONE
        self.replicas.pop(replica, None)
        self.unplaced.pop(replica, None)
        self.ready.pop(replica, None)
        for chooser in self.chooser:
            chooser.remove(replica)
        calls = replica.end()
        self.gone_busy_s += replica.busy_s
        if pod is not None and not pod_lost:
            pod.idle_since = self.events.now
            self.idle[pod] = None
            replica.pod = None
            self._give_pods()
        if calls:
            self.told.lost(calls)

    # Ray's autoscaler, and KubeRay.

    def _update(self, _: object) -> None:
        if not self.live:
            return
        now = self.events.now
        demand = len(self.unplaced) - len(self.launching)
        room = self.scaling.max_replicas - len(self.pods)
        most = min(self.cluster.launches, max(1, len(self.pods)) if self.scaling.conservative else 10**9)
        if min(demand, room) > most:
            self.told.met("pods_at_once")
        self._launch(min(demand, room, most))
        if demand <= 0:
            for pod in [
                pod for pod in self.idle if pod.idle_since is not None and now - pod.idle_since >= self.scaling.idle_s
            ]:
                if len(self.pods) > self.scaling.min_replicas:
                    del self.idle[pod], self.pods[pod]
                    self.pool.remove(pod)
        self.events.after(self.cluster.update_s, self._update)

    def _launch(self, count: int) -> None:
        for _ in range(count):
            start_s = 0.0 if self._is_warm() else self.scaling.pod_start_s
            pod = Pod(self.parts, start_s, self._joined, self._pod_lost)
            self.pods[pod] = self.launching[pod] = None
            self.pool.place(pod, self.name)

    def _is_warm(self) -> bool:
        """What a warm cluster begins with was there before."""
        return self._warm and self.events.now == 0

    def _joined(self, pod: Pod) -> None:
        if pod in self.pods:
            del self.launching[pod]
            pod.idle_since = self.events.now
            self.idle[pod] = None
            self._give_pods()

    def _pod_lost(self, pod: Pod) -> None:
        for pods in (self.pods, self.idle, self.launching):
            pods.pop(pod, None)
        for replica in [replica for replica in self.replicas if replica.pod is pod]:
            draining = replica.state == DRAINING
            self._end(replica, pod_lost=True)
            if not draining:
                self.events.after(self.cluster.detect_s, self._noticed)

    def _noticed(self, _: object) -> None:
        if self.live:
            self._meet_target()

    def hand_over(self) -> list[Call]:
        """Calls that have no replica yet, which are no longer this cluster's."""
        waiting = [call for call in (*self.parked, *self.shared) if call.state == WAITING]
        self._reports[0].open -= len(self.shared)
        self.parked.clear()
        self.shared.clear()
        return waiting

    def close(self) -> None:
        """The whole cluster goes, with what it still answers."""
        self.live = False
        self.told.lost(self.hand_over())
        for replica in list(self.replicas):
            self._end(replica, pod_lost=True)
        for pod in list(self.pods):
            self.pool.remove(pod)
        for pods in (self.pods, self.idle, self.launching):
            pods.clear()

    def busy_s(self) -> float:
        """Replica-seconds with something running."""
        return self.gone_busy_s + sum(replica.busy_until(self.events.now) for replica in self.replicas)
