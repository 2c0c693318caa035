"""Which nodes take a pod, and how many of them: the scheduler's rules as far as room and admission go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from assay.platform.api import Object
from assay.platform.workloads import GPU, Resources, requests_of

PRODUCT, MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"
SHOWN = {"cpu": "CPU", "memory": "memory", GPU: "GPU"}
SCARCE = {
    "cpu": "too little CPU free",
    "memory": "too little memory free",
    GPU: "too few GPUs free",
    "pods": "no place for a pod",
}


@dataclass
class Node:
    """free: what its pods leave of what it has to give. gpu_memory: bytes of one GPU, where the node is labelled."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    ready: bool
    allocatable: Resources
    free: Resources = field(default_factory=dict)

    @classmethod
    def of(cls, found: Object) -> Node:
        from kubernetes.utils.quantity import parse_quantity

        conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}
        spec = found.get("spec", {})
        given = found.get("status", {}).get("allocatable", {})
        wanted = ("cpu", "memory", "pods", GPU)
        allocatable = {name: parse_quantity(given[name]) for name in wanted if name in given}
        return cls(
            name=found["metadata"]["name"],
            labels=found["metadata"].get("labels", {}),
            taints=spec.get("taints", []),
            ready=conditions.get("Ready") == "True" and not spec.get("unschedulable"),
            allocatable=allocatable,
            free=dict(allocatable),
        )

    @property
    def gpus(self) -> int:
        return int(self.allocatable.get(GPU, Decimal(0)))

    @property
    def gpu_memory(self) -> int | None:
        label = self.labels.get(MEMORY, "")
        return int(label) * 2**20 if label.isdigit() else None

    def take(self, amounts: Resources) -> None:
        for name, amount in {"pods": Decimal(1), **amounts}.items():
            self.free[name] = self.free.get(name, Decimal(0)) - amount

    def lacks(self, amounts: Resources) -> str | None:
        """The first resource that one more pod would not find here; None where it fits."""
        for name, amount in {**amounts, "pods": Decimal(1)}.items():
            if name in SCARCE and self.free.get(name, Decimal(0)) < amount:
                return name
        return None


def selected(node: Node, pod: Mapping[str, Any]) -> bool:
    return all(node.labels.get(key) == value for key, value in (pod.get("nodeSelector") or {}).items())


def untolerated(node: Node, pod: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The first taint that keeps the pod away."""
    for taint in node.taints:
        tolerated = any(_tolerates(each, taint) for each in pod.get("tolerations") or [])
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerated:
            return taint
    return None


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


@dataclass(frozen=True)
class Placement:
    """wanted, placed: pods. why: how many nodes refuse one more pod, by reason, most frequent first."""

    wanted: int
    placed: int
    why: tuple[tuple[str, int], ...]

    @property
    def complete(self) -> bool:
        return self.placed == self.wanted

    def reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.why) or "there are none"


def place(nodes: Sequence[Node], pod: Mapping[str, Any], count: int) -> Placement:
    """Puts `count` pods on nodes, the fullest first, and takes their room."""
    amounts = requests_of(pod)
    fitting = [node for node in nodes if refuses(node, pod, amounts) is None]
    placed = 0
    for node in sorted(fitting, key=lambda each: (each.gpus, each.free.get("cpu", 0))):
        while placed < count and node.lacks(amounts) is None:
            node.take(amounts)
            placed += 1
    why = Counter(filter(None, (refuses(node, pod, amounts) for node in nodes))) if placed < count else Counter[str]()
    return Placement(count, placed, tuple(why.most_common()))


def refuses(node: Node, pod: Mapping[str, Any], amounts: Resources) -> str | None:
    """Why a node takes no further pod, in a few words; None where it does."""
    if not selected(node, pod):
        return "have other labels"
    if not node.ready:
        return "are not ready or cordoned"
    if (taint := untolerated(node, pod)) is not None:
        return f"have the taint {taint['key']}={taint.get('value', '')}:{taint['effect']}"
    if (lacking := node.lacks(amounts)) is not None:
        return f"have {SCARCE[lacking]}"
    return None


def occupy(nodes: Iterable[Node], pods: Iterable[Object]) -> None:
    """Takes what running pods have been given from the nodes that they are on."""
    by_name = {node.name: node for node in nodes}
    for pod in pods:
        if (node := by_name.get(pod["spec"].get("nodeName", ""))) is not None:
            node.take(requests_of(pod["spec"]))
