"""What a capacity file says: pools of nodes, models, services with their traffic, and how the cluster behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.capacity.arrivals import Arrivals
from assay.capacity.batching import Batch
from assay.capacity.memory import Model


@dataclass(frozen=True)
class Pool:
    """Nodes of one kind. prices per node and hour, in whatever money the file is in; quota: GPUs, all together."""

    name: str
    gpus_per_node: int
    gpu_memory_gib: float
    cpus_per_node: float
    memory_gib_per_node: float
    price_per_node_hour: float
    zones: int
    quota_gpus: int
    provision_s: float
    image_pull_s: float
    failures_per_node_hour: float
    node_selector: Mapping[str, str]


@dataclass(frozen=True)
class Calls:
    """Unary calls and streams. wait_s: what `percentile` of them may wait for a place on a replica, at most."""

    per_s: float
    arrival_scv: float
    step_s: float
    step_scv: float
    deadline_s: float
    wait_s: float
    percentile: float
    prompt_tokens: float
    answer_tokens: float
    token_s: float
    arrivals: Arrivals


@dataclass(frozen=True)
class Operations:
    """Long work of `steps` steps, at_once of them open at a time, each of step_s seconds on a replica."""

    per_hour: float
    steps: int
    at_once: int
    step_s: float
    step_scv: float
    arrivals: Arrivals


@dataclass(frozen=True)
class Front:
    """calls_per_core_s: calls a second that one core relays. in_flight: calls of one method that a front admits;
    running: operations that it runs at once."""

    replicas: int
    max_replicas: int
    cpu: float
    cpu_percent: int
    calls_per_core_s: float
    in_flight: int
    running: int


@dataclass(frozen=True)
class Scaling:
    """Of Serve's autoscaler, as the engine sets it, and of the Ray cluster under it.

    max_queued: calls that a replica lets wait beyond max_ongoing; -1 for any number.
    """

    min_replicas: int
    max_replicas: int
    ongoing: float
    upscale_delay_s: float
    downscale_delay_s: float
    look_back_s: float
    metrics_interval_s: float
    max_ongoing: int
    max_queued: int
    idle_s: float
    conservative: bool
    drain_s: float
    load_s: float
    pod_start_s: float


@dataclass(frozen=True)
class ServiceNeeds:
    """One service. batch: a replica answers calls together; else `slots` steps run at once without slowing another."""

    name: str
    pool: str
    gpus: int
    cpu: float
    memory_gib: float
    slots: int
    model: Model | None
    batch: Batch | None
    calls: Calls | None
    operations: Operations | None
    front: Front
    scaling: Scaling
    upgrade: str


@dataclass(frozen=True)
class Margin:
    """utilisation: planned with at most. Nodes or zones that may be lost with the targets still met."""

    utilisation: float
    lost_nodes: int
    lost_zones: int
    upgrades: str
    memory_usable: float
    reserve_gib: float


@dataclass(frozen=True)
class Cluster:
    """Behaviour around the services, for the simulation."""

    routing: str
    scan_s: float
    unneeded_s: float
    detect_s: float
    launches: int
    update_s: float


@dataclass(frozen=True)
class Specification:
    """currency: of all prices, as the file says it."""

    title: str
    currency: str
    pools: Mapping[str, Pool]
    services: Mapping[str, ServiceNeeds]
    margin: Margin
    cluster: Cluster
