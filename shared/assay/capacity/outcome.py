"""What a simulated run gave."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from assay.capacity.limits import Broken

SHARES = (0.5, 0.9, 0.99, 0.999)

# Bounds of the design that a run can meet, beside those of Kubernetes and Ray in `limits`: what each is, and what then.
BOUNDS: dict[str, tuple[str, str]] = {
    "front_refuses": (
        "a front has `in_flight` calls of a method open and refuses more (RESOURCE_EXHAUSTED, TOO_MANY_CALLS)",
        "more fronts: front.replicas, since HPA looks at the CPU, which waiting calls do not use; or a higher "
        "max_concurrent in the service's MethodPolicy",
    ),
    "front_operations": (
        "every front runs `running` operations; more stay open until one ends",
        "more fronts, or a higher MAX_RUNNING of shared/assay/operations/runner.py: the engine sees no more demand "
        "than fronts x running x at_once steps",
    ),
    "front_cpu": (
        "calls wait over 0.1 s for a front's core",
        "more fronts to begin with (front.replicas): HPA adds at most as many again, or four, every 15 s",
    ),
    "max_replicas": (
        "autoscaling would go beyond engine.replicas.max",
        "a higher engine.replicas.max, if the pool and its quota have the nodes",
    ),
    "pods_at_once": (
        "Ray's autoscaler asks for AUTOSCALER_MAX_CONCURRENT_LAUNCHES pods at most every time it looks",
        "set that variable on the head, or keep engine.replicas.min near what a crowd needs",
    ),
    "engine_busy": (
        "every replica has `max_queued` calls waiting and refuses more (ENGINE_BUSY)",
        "callers and operations try again, and then reach replicas that have come since",
    ),
    "gpu_quota": (
        "pods wait for nodes that the pool's quota does not allow",
        "raise the quota; meanwhile lower engine.replicas.max of what matters less",
    ),
}


@dataclass(frozen=True)
class Bound:
    """A bound that was met: first when [s], how often (looks, calls or scans), what it is and what to do."""

    name: str
    service: str
    first_s: float
    times: int
    about: str
    then: str


@dataclass
class Tally:
    """Calls and operations of one service. waits, answers: seconds of calls that came after the warm-up.

    Conserved: arrived = served + refused + late + lost + open at the end; the same for operations without failures.
    """

    arrived: int = 0
    served: int = 0
    refused: int = 0
    late: int = 0
    lost: int = 0
    open: int = 0
    operations: int = 0
    operations_done: int = 0
    operations_open: int = 0
    steps_done: int = 0
    steps_redone: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))
    answers: array[float] = field(default_factory=lambda: array("d"))
    operation_s: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class ServiceOutcome:
    """wait_s, answer_s, operation_s: percentiles by share, after the warm-up; empty without any."""

    name: str
    tally: Tally
    wait_s: dict[str, float]
    answer_s: dict[str, float]
    operation_s: dict[str, float]
    failed_share: float
    replicas_mean: float
    replicas_most: int
    busy_share: float


@dataclass(frozen=True)
class Sample:
    """The cluster at one moment; by service: calls open, replicas ready and wanted, fronts."""

    time_s: float
    nodes: int
    gpus: int
    open: dict[str, int]
    ready: dict[str, int]
    target: dict[str, int]
    fronts: dict[str, int]
    arrived: dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """All simulated: nothing of it was measured on a cluster."""

    seed: int
    hours: float
    load: float
    services: tuple[ServiceOutcome, ...]
    bounds: tuple[Bound, ...]
    broken: tuple[Broken, ...]
    peaks: dict[str, float]
    cost: float
    node_hours: float
    gpu_busy_share: float
    nodes_failed: int
    events: int
    samples: tuple[Sample, ...]

    def to_json(self, *, samples: bool = True) -> dict[str, Any]:
        document: dict[str, Any] = {"simulated": True, **{k: v for k, v in vars(self).items() if k != "samples"}}
        document["services"] = [
            {k: v for k, v in vars(each).items() if k != "tally"}
            | {k: v for k, v in vars(each.tally).items() if not isinstance(v, array)}
            for each in self.services
        ]
        document["bounds"] = [asdict(each) for each in self.bounds]
        document["broken"] = [asdict(each) for each in self.broken]
        if samples:
            document["samples"] = [asdict(each) for each in self.samples]
        return document


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """By nearest rank."""
    if not values:
        return {}
    ordered = sorted(values)
    found = {f"p{100 * share:g}": ordered[math.ceil(share * len(ordered)) - 1] for share in SHARES}
    return found | {"mean": math.fsum(ordered) / len(ordered)}
