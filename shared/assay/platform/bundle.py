"""Everything that a bug report needs, in one file, with secrets taken out."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from assay import __version__
from assay.errors import AlreadyExists, AssayError, FailedPrecondition
from assay.platform.api import Cluster, Object
from assay.platform.helm import Helm, Target
from assay.platform.ownership import require_ours
from assay.platform.redact import Redactor
from assay.platform.trouble import troubles

LOG_LINES = 2000
LOG_BYTES = 1 * 2**20
ALL_LOGS_BYTES = 64 * 2**20
MOST_OBJECTS = 2000
HELM_RECORD = "helm.sh/release.v1"
# What tells of a namespace's state; of kinds that the cluster does not serve there is nothing to tell.
KINDS = (
    ("v1", "Pod"), ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "PersistentVolumeClaim"),
    ("v1", "ServiceAccount"), ("v1", "ResourceQuota"), ("v1", "LimitRange"), ("v1", "Event"),
    ("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"), ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"), ("discovery.k8s.io/v1", "EndpointSlice"),
    ("ray.io/v1", "RayService"), ("ray.io/v1", "RayCluster"),
    ("cert-manager.io/v1", "Certificate"), ("gateway.networking.k8s.io/v1", "GRPCRoute"),
)  # fmt: skip


def bundle(cluster: Cluster, target: Target, destination: Path) -> list[str]:
    """Writes a new tar.gz that only its owner may read; the names in it. AlreadyExists where there is such a file.

    What cannot be read is left out and said in missing.txt. Raises Unavailable where no server answers, and
    FailedPrecondition or NotFound where the namespace has neither a history of the release nor its label.
    """
    cluster.reach()
    _require_release(cluster, target)
    redactor = Redactor(_secret_values(cluster, target))
    missing: list[str] = []
    names: list[str] = []
    try:
        handle = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AlreadyExists(f"{destination} is there already; name another file") from None
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in _parts(cluster, target, redactor, missing):
            data = content if isinstance(content, str) else _yaml(redactor.document(content))
            _add(archive, redactor.text(name), data.encode())
            names.append(name)
        if missing:
            _add(archive, "missing.txt", redactor.text("\n".join(missing) + "\n").encode())
    return names


def _require_release(cluster: Cluster, target: Target) -> None:
    """What others have in a namespace of theirs is nobody's business here."""
    with suppress(FailedPrecondition):  # Helm's records may not be read
        if Helm(target).history():
            return
    require_ours(cluster, target)


def _parts(
    cluster: Cluster, target: Target, redactor: Redactor, missing: list[str]
) -> Iterator[tuple[str, str | Object | list[Object]]]:
    """(name, text or document); texts come redacted."""

    def tried(what: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except AssayError as error:
            missing.append(f"{what}: {error.message}")
            return None

    helm = Helm(target)
    versions = {"assay": __version__, "helm": tried("helm's version", helm.version)}
    yield "versions.yaml", versions | {"kubernetes": tried("the server's version", lambda: cluster.version)}
    history = tried("history", helm.history) or []
    yield "helm/history.yaml", [vars(each) for each in history]
    yield "helm/values.yaml", tried("values", helm.values) or {}
    yield "helm/manifest.yaml", tried("manifest", helm.manifest) or []
    found = tried("namespace", lambda: cluster.get(f"/api/v1/namespaces/{target.namespace}"))
    if found:
        yield "namespace.yaml", found
    pods: list[Object] = []
    for version, kind in KINDS:
        listed = tried(kind, partial(_listed, cluster, target, version, kind))
        if listed:
            pods = listed if kind == "Pod" else pods
            yield f"objects/{kind}.yaml", listed
    nodes = {pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")}
    seen = [tried(f"node {name}", partial(cluster.get, f"/api/v1/nodes/{name}")) for name in sorted(nodes)[:200]]
    if any(seen):
        yield "nodes.yaml", [_without_images(node) for node in seen if node]
    yield "troubles.txt", redactor.text("\n".join(map(str, troubles(cluster, target))) + "\n")
    left = ALL_LOGS_BYTES
    for pod in pods:
        for name, text in _logs(cluster, pod, missing):
            left -= len(text)
            if left < 0:
                missing.append(f"{name}: the logs before it fill {ALL_LOGS_BYTES >> 20} MiB")
                return
            yield name, redactor.text(text)


def _listed(cluster: Cluster, target: Target, version: str, kind: str) -> list[Object]:
    found = []
    for each in cluster.list(cluster.path_of(version, kind, target.namespace)):
        if each.get("type") == HELM_RECORD:
            continue  # the chart and its values, packed: a copy of all secrets
        each["metadata"].pop("managedFields", None)
        found.append({"apiVersion": version, "kind": kind, **each})
        if len(found) == MOST_OBJECTS:
            break
    return found


def _without_images(node: Object) -> Object:
    node["status"].pop("images", None)
    node["metadata"].pop("managedFields", None)
    return node


def _logs(cluster: Cluster, pod: Object, missing: list[str]) -> Iterator[tuple[str, str]]:
    """The end of each container's log, and of the run before where it was restarted."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}/log"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        for previous in (False, True) if container.get("restartCount") else (False,):
            query = {
                "container": container["name"], "tailLines": LOG_LINES, "limitBytes": LOG_BYTES,
                "timestamps": "true", "previous": str(previous).lower(),
            }  # fmt: skip
            file = f"logs/{name}/{container['name']}{'.previous' if previous else ''}.log"
            try:
                yield file, cluster.raw("GET", path, query=query).decode(errors="replace")
            except AssayError as error:
                missing.append(f"{file}: {error.message}")


def _secret_values(cluster: Cluster, target: Target) -> list[str]:
    """What the namespace's secrets hold, to be taken out wherever it turns up; none where they may not be read."""
    found = []
    try:
        for secret in cluster.list(f"/api/v1/namespaces/{target.namespace}/secrets"):
            if secret.get("type") == HELM_RECORD:
                continue
            for value in (secret.get("data") or {}).values():
                try:
                    found.append(base64.b64decode(value).decode())
                except ValueError:
                    found.append(value)
    except AssayError:
        return found
    return found


def _yaml(found: Any) -> str:
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    # By way of JSON: of equal parts YAML would make anchors.
    plain = json.loads(json.dumps(found, default=str))
    return str(yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=200))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(data))
