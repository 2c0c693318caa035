"""What stands in the way of more, where that is known from, and what then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.capacity.figures import Figure, documented, measured

KUBERNETES = "https://kubernetes.io/docs/setup/best-practices/cluster-large/ (v1.35)"
ENVELOPE = "https://github.com/ray-project/ray/blob/master/release/benchmarks/README.md"
CONTROLLER = "https://github.com/ray-project/ray/pull/65371"


@dataclass(frozen=True)
class Limit:
    """name: as peaks are named. then: what to do where it is met."""

    name: str
    about: str
    most: Figure
    then: str


LIMITS = (
    Limit(
        "kubernetes_nodes",
        "nodes of one Kubernetes cluster",
        documented(5000, KUBERNETES),
        "a second Kubernetes cluster, each with whole services; fronts are reached by name, so callers need not know",
    ),
    Limit(
        "kubernetes_pods",
        "pods of one Kubernetes cluster",
        documented(150_000, KUBERNETES),
        "more replicas a pod, or a second Kubernetes cluster",
    ),
    Limit(
        "pods_per_node",
        "pods on one node",
        documented(110, KUBERNETES),
        "larger replicas; with one GPU a replica a node of eight is far from it",
    ),
    Limit(
        "ray_nodes",
        "nodes (worker pods) of one Ray cluster",
        documented(250, f"{ENVELOPE}: tested with trivial tasks; more is untested there, not refused"),
        "split the service by model or by tenant into several entries of `services`, each a Ray cluster of its own; "
        "or a larger head (Ray's own test of 8,192 replicas on 205 nodes runs its head on 16 cores and 64 GiB)",
    ),
    Limit(
        "serve_replicas",
        "replicas of one Serve controller",
        documented(8192, f"{CONTROLLER}: Serve's own controller sweep ends there, idle replicas"),
        "split the service into several Serve applications on clusters of their own",
    ),
    Limit(
        "serve_replicas_small_head",
        "replicas on a head of 8 cores and 32 GiB",
        documented(4096, f"{CONTROLLER}: above, an m5.2xlarge head starves gcs_server"),
        "`engine.head.resources` of the chart (1 core, 4 GiB by default, at which nobody has tested any number)",
    ),
)
BY_NAME: Mapping[str, Limit] = {limit.name: limit for limit in LIMITS}

# Of the design itself: each is a figure in the code, so it can be moved.
POD_CREATION = measured(
    50, "https://github.com/ray-project/kuberay/issues/3907: 10,000 pods in 200 s, 100 clusters, by KubeRay's users"
)


@dataclass(frozen=True)
class Broken:
    """One limit that was met: how far it was gone over."""

    name: str
    about: str
    reached: float
    most: float
    source: str
    then: str


def broken(peaks: Mapping[str, float]) -> list[Broken]:
    """The limits of LIMITS that `peaks` exceed, by how much, the worst first."""
    found = [
        Broken(limit.name, limit.about, peaks[limit.name], limit.most.value, limit.most.source, limit.then)
        for limit in LIMITS
        if peaks.get(limit.name, 0) > limit.most.value
    ]
    return sorted(found, key=lambda each: -each.reached / each.most)
