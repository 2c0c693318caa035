"""Nodes, and room on them for the least that the release needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assay.platform.api import Object
from assay.platform.finding import Finding, Result, fail, ok, several, warn
from assay.platform.nodes import PRODUCT, SHOWN, Node, Placement, place, selected, untolerated
from assay.platform.survey import Survey
from assay.platform.workloads import Workload


def nodes(survey: Survey) -> Iterator[Finding]:
    away = [node.name for node in survey.nodes if not node.ready]
    ready = len(survey.nodes) - len(away)
    if not ready:
        yield fail(
            "nodes", f"none of {len(survey.nodes)} is ready", "add a node, or mend what kubectl describe node says"
        )
    elif away:
        yield warn("nodes", f"{ready} ready, not so {several(away)}", "mend or remove them")
    else:
        yield ok("nodes", f"{ready}, all ready")


def room(survey: Survey) -> Iterator[Finding]:
    """The pods that must run, those that need GPUs first, each on a node that takes it; then a second Ray cluster."""
    free = survey.empty_nodes()
    lasting = sorted(survey.rendered.lasting(), key=lambda each: -each.gpus)
    whole = True
    for workload in lasting:
        # An engine that starts at nothing must still be able to have its first replica.
        got = place(free, workload.pod, max(workload.least, 1))
        whole = whole and got.complete
        yield _finding(survey, workload, got)
    if not whole:
        return  # what has no room for one has none for two
    second = [place(free, each.pod, each.least) for each in lasting if each.kind == "RayService"]
    strategies = {s["spec"].get("upgradeStrategy", {}).get("type") for s in survey.rendered.of_kind("RayService")}
    if "NewCluster" in strategies and not all(each.complete for each in second):
        remedy = "add nodes, or see charts/assay/README.md on engine.upgrade.strategy"
        yield warn("room for upgrades", "there is none for a second Ray cluster while an engine is upgraded", remedy)


def _finding(survey: Survey, workload: Workload, got: Placement) -> Finding:
    name = f"room for {workload.name}"
    asked = _asked(workload)
    if got.complete:
        return ok(name, f"{got.wanted} of {asked}")
    found = f"{got.placed} of {got.wanted} pods of {asked} fit; of {len(survey.nodes)} nodes {got.reasons()}"
    grows = _autoscaler(survey)
    least: Result = "warn" if grows or not workload.least else "fail"
    remedy = _remedy(survey.nodes, workload)
    if grows:
        remedy = f"{grows} may add nodes; otherwise {remedy}"
    return Finding(name, least, found, remedy)


def _asked(workload: Workload) -> str:
    parts = []
    for resource in SHOWN:
        if amount := workload.requests.get(resource):
            shown = f"{amount / 2**30:.3g} GiB" if resource == "memory" else f"{amount.normalize():f}"
            parts.append(f"{shown} {SHOWN[resource]}")
    return ", ".join(parts) or "no requests"


def _remedy(all_nodes: Sequence[Node], workload: Workload) -> str:
    pod = workload.pod
    fitting = [node for node in all_nodes if selected(node, pod)]
    with_gpus = [node for node in all_nodes if node.gpus]
    if workload.gpus and not with_gpus:
        return "add GPU nodes with NVIDIA's device plugin (allocatable nvidia.com/gpu), or set resources.gpus: 0"
    if not fitting:
        wanted = pod.get("nodeSelector") or {}
        products = Counter(node.labels.get(PRODUCT, "unlabelled") for node in with_gpus)
        there = ", ".join(f"{count} with {product}" for product, count in products.most_common(4))
        return f"no node has the labels {_labels(wanted)} (GPU nodes here: {there or 'none'}); set pools.*.nodeSelector"
    kept_out = [taint for node in fitting if node.ready and (taint := untolerated(node, pod)) is not None]
    if kept_out and len(kept_out) == len(fitting):
        return f"add a toleration of {kept_out[0]['key']} to pools.*.tolerations, or remove the taint"
    return "add nodes, lower engine.resources or front.resources, or fewer replicas.min"


def _labels(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _autoscaler(survey: Survey) -> str | None:
    """Who adds nodes when pods wait for them, as far as it is to be seen."""
    if survey.cluster.find("/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"):
        return "the cluster's autoscaler"
    if survey.cluster.find("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nodepools.karpenter.sh"):
        return "Karpenter"
    return None


def gpu_memory(survey: Survey) -> Iterator[Finding]:
    """What the labels of GPU feature discovery say of the nodes that engines would be put on."""
    for workload in survey.rendered.lasting():
        if not workload.gpus:
            continue
        name = f"GPU memory for {workload.name}"
        usable = [node for node in survey.nodes if node.gpus and selected(node, workload.pod)]
        sizes = sorted({size for node in usable if (size := node.gpu_memory) is not None})
        if not usable:
            continue  # said by `room`
        if not sizes:
            remedy = "install NVIDIA's GPU feature discovery (nvidia.com/gpu.memory), or check by hand"
            if survey.gpu_memory:
                yield warn(name, "no node says how much its GPUs have", remedy)
            continue
        shown = " to ".join(dict.fromkeys(f"{size / 2**30:.0f} GiB" for size in (sizes[0], sizes[-1])))
        if survey.gpu_memory and sizes[0] < survey.gpu_memory:
            wanted = f"{survey.gpu_memory / 2**30:.0f} GiB"
            remedy = "choose larger ones with pools.*.nodeSelector (nvidia.com/gpu.product)"
            yield fail(name, f"{shown} a GPU, and a replica needs {wanted}", remedy)
        else:
            yield ok(name, f"{shown} a GPU")


def autoscaling(survey: Survey) -> Iterator[Finding]:
    """Autoscalers of fronts ask for the pods' CPU."""
    if survey.rendered.of_kind("HorizontalPodAutoscaler"):
        found: Object | None = survey.cluster.find("/apis/metrics.k8s.io")
        if found is None:
            remedy = "install metrics-server, or set front.autoscaling.enabled: false"
            yield warn("metrics", "metrics.k8s.io is not served: fronts stay as many as they are", remedy)
        else:
            yield ok("metrics", "metrics.k8s.io is served")
