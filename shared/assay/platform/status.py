"""What a release is doing now: fronts, Serve applications, GPUs, operations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from assay.errors import AssayError, PermissionDenied
from assay.platform.api import Cluster, Object
from assay.platform.calls import open_operations
from assay.platform.helm import Helm, Target
from assay.platform.nodes import Node, occupy
from assay.platform.readiness import applications
from assay.platform.services import Service, channel, installed, through_cluster
from assay.platform.survey import RUNNING
from assay.platform.workloads import GPU, Rendered, pod_labels

NONE = "—"


@dataclass(frozen=True)
class Row:
    """ready: of how many. operations: open ones of a front, or why nobody knows."""

    part: str
    what: str
    ready: int
    wanted: int
    state: str
    image: str = ""
    restarts: int = 0
    operations: int | None = None
    why: str = ""


def status(cluster: Cluster, target: Target) -> tuple[list[Row], list[str]]:
    """The rows, and notes on what could not be looked at. NotFound where there is no release."""
    cluster.reach()
    helm = Helm(target)
    notes: list[str] = []
    pods_path = f"/api/v1/namespaces/{target.namespace}/pods"
    with ThreadPoolExecutor(max_workers=10) as asking:
        latest = asking.submit(helm.history)
        services, rendered, _ = installed(target, helm)
        counted = {service.front: asking.submit(_operations, cluster, target, service) for service in services}
        gpus = asking.submit(_gpus, cluster, rendered, notes)
        pods = list(cluster.list(pods_path, labelSelector=f"app.kubernetes.io/instance={target.release}"))
        rows = [*_workloads(cluster, target, rendered, pods), *gpus.result()]
    if (revision := latest.result()[-1]).status != "deployed":
        notes.append(f"revision {revision.number} is {revision.status}: {revision.description}")
    shown = []
    for row in rows:
        if row.part in counted:
            count, why = counted[row.part].result()
            row = Row(**{**vars(row), "operations": count, "why": why})
        shown.append(row)
    return shown, notes


def _workloads(cluster: Cluster, target: Target, rendered: Rendered, pods: list[Object]) -> list[Row]:
    rows = []
    for made in rendered.objects:
        kind, name = made["kind"], made["metadata"]["name"]
        if kind not in ("Deployment", "StatefulSet", "RayService"):
            continue
        live = cluster.find(cluster.path_of(made["apiVersion"], kind, target.namespace, name))
        labels = made["metadata"].get("labels", {})
        mine = [pod for pod in pods if pod_labels(made).items() <= pod["metadata"].get("labels", {}).items()]
        restarts = sum(
            each.get("restartCount", 0) for pod in mine for each in pod["status"].get("containerStatuses", [])
        )
        if live is None:
            rows.append(Row(name, kind, 0, 1, "is not there"))
        elif kind == "RayService":
            rows += _applications(live, restarts)
        else:
            image = live["spec"]["template"]["spec"]["containers"][0]["image"]
            ready, wanted = live.get("status", {}).get("readyReplicas", 0), live["spec"].get("replicas", 1)
            what = "front" if labels.get("app.kubernetes.io/component") == "front" else "store"
            rows.append(Row(name, what, ready, wanted, "ready" if ready >= wanted else "not ready", image, restarts))
    return rows


def _applications(live: Object, restarts: int) -> list[Row]:
    """A row for each Serve application: its deployments that are healthy, of how many."""
    name = live["metadata"]["name"]
    image = live["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    rows = []
    for application, state, message in applications(live):
        part = "pendingServiceStatus" if application.endswith(" (new)") else "activeServiceStatus"
        found = live["status"][part]["applicationStatuses"][application.removesuffix(" (new)")]
        deployments = (found.get("serveDeploymentStatuses") or {}).values()
        healthy = sum(each.get("status") == "HEALTHY" for each in deployments)
        said = f"{state}: {message}" if message and state != "RUNNING" else state
        rows.append(Row(f"{name}: {application}", "application", healthy, len(deployments), said, image, restarts))
    if not rows:
        conditions = {each["type"]: each for each in live.get("status", {}).get("conditions", [])}
        said = conditions.get("Ready", {}).get("message") or "no word from KubeRay yet"
        rows.append(Row(name, "application", 0, 1, said, image, restarts))
    return rows


def _gpus(cluster: Cluster, rendered: Rendered, notes: list[str]) -> list[Row]:
    """For each kind of nodes that engines are put on: GPUs that pods of whomever have, of those there are."""
    pools: dict[str, tuple[str, Object]] = {}
    for workload in rendered.lasting():
        if workload.gpus:
            selector = ",".join(
                f"{key}={value}" for key, value in sorted((workload.pod.get("nodeSelector") or {}).items())
            )
            pools.setdefault(selector, (workload.name.split()[-2], workload.pod))
    if not pools:
        return []
    try:
        running = list(cluster.list("/api/v1/pods", fieldSelector=RUNNING))
        rows = []
        for selector, (pool, _) in pools.items():
            chosen = {"labelSelector": selector} if selector else {}
            nodes = [node for found in cluster.list("/api/v1/nodes", **chosen) if (node := Node.of(found)).gpus]
            occupy(nodes, running)
            there = sum(node.gpus for node in nodes)
            used = there - int(sum(node.free[GPU] for node in nodes))
            rows.append(Row(f"GPUs of {pool}", "GPUs used", used, there, f"{len(nodes)} nodes {selector}".strip()))
    except PermissionDenied as error:
        notes.append(f"GPUs: {error.message}")
        return []
    return rows


def _operations(cluster: Cluster, target: Target, service: Service) -> tuple[int | None, str]:
    try:
        with through_cluster(cluster, target, service) as address, channel(address) as opened:
            return open_operations(opened, service.grpc, timeout_s=4.0), ""
    except AssayError as error:
        return None, error.message
