"""Nodes of one pool: pods are placed on them, a cluster autoscaler adds and removes them, some die."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from random import Random

from assay.capacity.events import Events
from assay.capacity.packing import fits
from assay.capacity.specification import Cluster, Pool, ServiceNeeds

# A node in parts: divisible by the numbers of replicas that a node may hold.
PARTS = 5040
FAILURE_CHECK_S = 60.0


class Pod:
    """A Ray worker pod. `joined` is called once it can take a replica, `lost` where its node dies."""

    __slots__ = ("idle_since", "joined", "lost", "node", "parts", "start_s")

    def __init__(self, parts: int, start_s: float, joined: Callable[[Pod], None], lost: Callable[[Pod], None]) -> None:
        self.parts, self.start_s, self.joined, self.lost = parts, start_s, joined, lost
        self.node: Node | None = None
        self.idle_since: float | None = None


class Node:
    """free: parts. images: when each service's image is there."""

    __slots__ = ("alive", "empty_since", "free", "images", "pods")

    def __init__(self, now: float) -> None:
        self.free = PARTS
        self.pods: dict[Pod, str] = {}
        self.images: dict[str, float] = {}
        self.empty_since: float | None = now
        self.alive = True


def parts_of(pool: Pool, needs: ServiceNeeds) -> int:
    return PARTS // fits(needs, pool.gpus_per_node, pool.cpus_per_node, pool.memory_gib_per_node)


class NodePool:
    """The scheduler takes the emptiest node that has room (LeastAllocated, its default).

    The cluster autoscaler looks every scan_s, asks for the nodes that waiting pods need, within the quota, and gives
    back nodes that stood empty for unneeded_s. `met(name)` is told when the quota holds pods back.
    """

    def __init__(
        self, pool: Pool, cluster: Cluster, events: Events, random: Random, met: Callable[[str], None]
    ) -> None:
        self.pool, self.cluster, self.events, self.random, self.met = pool, cluster, events, random, met
        self.nodes: dict[Node, None] = {}
        self.coming = 0
        self.waiting: deque[tuple[Pod, str]] = deque()
        self.node_s = 0.0
        self.failed = 0
        self._rooms: dict[int, OrderedDict[Node, None]] = {}
        self._changed = 0.0
        events.every(cluster.scan_s, self._scan)
        if pool.failures_per_node_hour:
            events.every(FAILURE_CHECK_S, self._fail_some)

    def begin_with(self, count: int, images: set[str]) -> None:
        """Nodes that are there, with these images, when the time begins."""
        for _ in range(count):
            self._add().images.update(dict.fromkeys(images, 0.0))

    def place(self, pod: Pod, image: str) -> None:
        self.waiting.append((pod, image))
        self._schedule()

    def remove(self, pod: Pod) -> None:
        """A pod that is gone, or no longer wanted while it waits."""
        node = pod.node
        if node is None:
            self.waiting = deque(each for each in self.waiting if each[0] is not pod)
            return
        if node.alive and pod in node.pods:
            del node.pods[pod]
            self._room(node, pod.parts)
            if not node.pods:
                node.empty_since = self.events.now
        pod.node = None
        if self.waiting:
            self._schedule()

    def count_time(self) -> None:
        self.node_s += len(self.nodes) * (self.events.now - self._changed)
        self._changed = self.events.now

    @property
    def gpus(self) -> int:
        return len(self.nodes) * self.pool.gpus_per_node

    def _schedule(self) -> None:
        held: deque[tuple[Pod, str]] = deque()
        while self.waiting:
            pod, image = self.waiting.popleft()
            free = max((room for room, nodes in self._rooms.items() if nodes), default=0)
            if free < pod.parts:
                held.append((pod, image))
                # Pods of one service are alike: the rest of the line would be turned away too.
                if all(other.parts >= pod.parts for other, _ in self.waiting):
                    break
                continue
            node = next(iter(self._rooms[free]))
            self._room(node, -pod.parts)
            node.pods[pod] = image
            node.empty_since = None
            pod.node = node
            pulled = node.images.setdefault(image, self.events.now + self.pool.image_pull_s)
            self.events.at(max(pulled, self.events.now) + pod.start_s, self._join, pod)
        held.extend(self.waiting)
        self.waiting = held

    def _join(self, pod: Pod) -> None:
        if pod.node is not None and pod.node.alive:
            pod.joined(pod)

    def _room(self, node: Node, change: int) -> None:
        self._rooms[node.free].pop(node, None)
        node.free += change
        self._rooms.setdefault(node.free, OrderedDict())[node] = None

    def _scan(self) -> None:
        if self.waiting:
            wanted = math.ceil(sum(pod.parts for pod, _ in self.waiting) / PARTS) - self.coming
            size = self.pool.gpus_per_node
            if size:
                allowed = self.pool.quota_gpus // size - len(self.nodes) - self.coming
                if wanted > allowed:
                    self.met("gpu_quota")
                wanted = min(wanted, allowed)
            for _ in range(max(0, wanted)):
                self.coming += 1
                # Providers differ from node to node: a fifth either way.
                self.events.after(self.pool.provision_s * self.random.uniform(0.8, 1.2), self._arrive)
        now = self.events.now
        empty = [
            node
            for node in self.nodes
            if node.empty_since is not None and now - node.empty_since >= self.cluster.unneeded_s
        ]
        for node in empty:
            self._drop(node)

    def _arrive(self, _: object) -> None:
        self.coming -= 1
        self._add()
        self._schedule()

    def _add(self) -> Node:
        self.count_time()
        node = Node(self.events.now)
        self.nodes[node] = None
        self._rooms.setdefault(PARTS, OrderedDict())[node] = None
        return node

    def _drop(self, node: Node) -> None:
        self.count_time()
        node.alive = False
        del self.nodes[node]
        self._rooms[node.free].pop(node, None)

    def _fail_some(self) -> None:
        rate = len(self.nodes) * self.pool.failures_per_node_hour * FAILURE_CHECK_S / 3600
        count, chance = 0, self.random.random()
        share = term = math.exp(-rate)
        while chance > share and count < len(self.nodes):
            count += 1
            term *= rate / count
            share += term
        for node in self.random.sample(list(self.nodes), count) if count else ():
            self.failed += 1
            pods = list(node.pods)
            self._drop(node)
            for pod in pods:
                pod.node = None
                pod.lost(pod)
