"""Why pods of a release do not get ready, in the words of scheduler, kubelet and the programs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from assay.errors import AssayError
from assay.platform.api import Cluster, Object
from assay.platform.helm import Target
from assay.platform.redact import Redactor

LOG_LINES = 5
MOST = 8


@dataclass(frozen=True)
class Trouble:
    """what: the pod or object; reason: one word, e.g. ImagePullBackOff; detail: message or last lines of its log."""

    what: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}: {self.detail}"


def troubles(cluster: Cluster, target: Target) -> list[Trouble]:
    """Alike ones once, the first few. What cannot be read is one too: it is asked when something failed already."""
    found: dict[tuple[str, str], Trouble] = {}
    inside = f"/api/v1/namespaces/{target.namespace}"
    ours = f"app.kubernetes.io/instance={target.release}"
    try:
        for pod in cluster.list(f"{inside}/pods", labelSelector=ours):
            for trouble in of_pod(cluster, pod):
                found.setdefault((trouble.reason, trouble.detail), trouble)
        for trouble in _of_owners(cluster, target, ours):
            found.setdefault((trouble.reason, trouble.detail), trouble)
    except AssayError as error:
        found.setdefault(("", ""), Trouble("the namespace", "cannot be read", error.message))
    return list(found.values())[:MOST]


def of_pod(cluster: Cluster, pod: Object) -> Iterator[Trouble]:
    """What keeps one pod from being ready."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield Trouble(name, condition.get("reason", "Unschedulable"), condition.get("message", ""))
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        where = f"{name} ({container['name']})"
        if waiting.get("reason") == "CrashLoopBackOff" or ended.get("exitCode"):
            code = f"exit code {ended.get('exitCode', '?')}, {container.get('restartCount', 0)} restarts"
            killed = "out of memory; " if ended.get("reason") == "OOMKilled" else ""
            said = _last_lines(cluster, pod, container["name"], previous=bool(waiting))
            yield Trouble(where, waiting.get("reason") or "Error", f"{killed}{code}; its last lines: {said}")
        elif waiting.get("reason") == "ContainerCreating":
            yield Trouble(where, waiting["reason"], _event(cluster, pod) or container.get("image", ""))
        elif waiting.get("reason") not in (None, "PodInitializing"):
            yield Trouble(where, waiting["reason"], waiting.get("message", container.get("image", "")))
        elif container.get("state", {}).get("running") and not container.get("ready"):
            yield Trouble(where, "NotReady", _event(cluster, pod) or "runs, and its readiness probe has not passed yet")


def _of_owners(cluster: Cluster, target: Target, ours: str) -> Iterator[Trouble]:
    """What kept pods from being made at all, and what KubeRay and Serve say."""
    inside = f"/namespaces/{target.namespace}"
    for made in cluster.list(f"/apis/apps/v1{inside}/deployments", labelSelector=ours):
        for condition in made.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield Trouble(made["metadata"]["name"], condition.get("reason", ""), condition.get("message", ""))
    if cluster.find("/apis/ray.io/v1") is None:
        return
    from assay.platform.readiness import applications

    for made in cluster.list(f"/apis/ray.io/v1{inside}/rayservices", labelSelector=ours):
        for application, state, message in applications(made):
            if state not in ("RUNNING", "DEPLOYING", "NOT_STARTED"):
                yield Trouble(f"{made['metadata']['name']} ({application})", state, message[:500])


def _last_lines(cluster: Cluster, pod: Object, container: str, *, previous: bool) -> str:
    meta = pod["metadata"]
    query = {"container": container, "tailLines": LOG_LINES, "previous": str(previous).lower(), "limitBytes": 4000}
    try:
        said = cluster.raw("GET", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log", query=query)
    except AssayError as error:
        return f"not to be had ({error.message})"
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return Redactor().text(" | ".join(lines)) or "none"


def _event(cluster: Cluster, pod: Object) -> str:
    """The newest warning about a pod, or else the newest of what happened to it."""
    meta = pod["metadata"]
    chosen = f"involvedObject.name={meta['name']}"
    found = list(cluster.list(f"/api/v1/namespaces/{meta['namespace']}/events", fieldSelector=chosen))
    warnings = [event for event in found if event.get("type") == "Warning"]
    newest = max(warnings or found, key=_time, default={})
    return str(newest.get("message", ""))


def _time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
