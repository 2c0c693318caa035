"""Whose a namespace is. The tool touches only one that it made, that was empty, or that carries its release's label."""

from __future__ import annotations

from typing import Literal, NamedTuple

from assay.errors import AlreadyExists, FailedPrecondition, NotFound
from assay.platform.api import Cluster, Object
from assay.platform.helm import Target

LABEL = "assay.platform/release"
CREATED = "assay.platform/created"
# What makes a namespace somebody's. Secrets and settings may be there before: a release needs some.
TENANTS = (
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
)

State = Literal["absent", "ours", "free", "foreign"]


class Claim(NamedTuple):
    """why: for a foreign namespace, what makes it so, and the next step."""

    state: State
    why: str = ""
    remedy: str = ""


def claim(cluster: Cluster, target: Target, namespace: Object | None) -> Claim:
    """Whether the target may be installed in `namespace` (None: there is none of that name)."""
    name = target.namespace
    if name == "default" or name.startswith("kube-"):
        return Claim("foreign", f"{name} is Kubernetes' own", "choose another with --namespace")
    if namespace is None:
        return Claim("absent")
    meta = namespace["metadata"]
    if namespace.get("status", {}).get("phase") == "Terminating":
        return Claim("foreign", f"{name} is being deleted", "wait until it is gone, or choose another with --namespace")
    owner = meta.get("labels", {}).get(LABEL)
    if owner == target.release:
        return Claim("ours")
    if owner:
        return Claim("foreign", f"{name} belongs to the release {owner}", "choose another with --namespace")
    for version, kind in TENANTS:
        found = cluster.get(cluster.path_of(version, kind, name), limit=1).get("items") or []
        if found:
            return Claim(
                "foreign",
                f"{name} is in use ({kind} {found[0]['metadata']['name']}) and not labelled {LABEL}={target.release}",
                f"choose another with --namespace; if it is this release's: kubectl label namespace {name} "
                f"{LABEL}={target.release}",
            )
    return Claim("free")


def read_namespace(cluster: Cluster, name: str) -> Object | None:
    return cluster.find(f"/api/v1/namespaces/{name}")


def take(cluster: Cluster, target: Target) -> bool:
    """Makes the namespace, or labels the empty one that is there. Returns whether it was made.

    Raises FailedPrecondition where it is someone else's.
    """
    found = read_namespace(cluster, target.namespace)
    decided = claim(cluster, target, found)
    if decided.state == "foreign":
        raise FailedPrecondition(f"namespace {decided.why}; {decided.remedy}", reason="FOREIGN_NAMESPACE")
    labels = {LABEL: target.release}
    if decided.state == "absent":
        meta = {"name": target.namespace, "labels": labels, "annotations": {CREATED: target.release}}
        try:
            cluster.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        except AlreadyExists:  # made by somebody else this very moment
            raise FailedPrecondition(f"namespace {target.namespace} has just been made by another; try again") from None
        return True
    if decided.state == "free" and found is not None:
        # Only as it was when it was looked at: another may have taken it meanwhile.
        seen = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            cluster.patch(f"/api/v1/namespaces/{target.namespace}", {"metadata": {"labels": labels, **seen}})
        except AlreadyExists:
            raise FailedPrecondition(
                f"namespace {target.namespace} has just been changed by another; try again"
            ) from None
    return False


def require_ours(cluster: Cluster, target: Target) -> Object:
    """The target's namespace; NotFound where there is none, FailedPrecondition where it is not this release's."""
    found = read_namespace(cluster, target.namespace)
    if found is None:
        raise NotFound(f"there is no namespace {target.namespace}; name the release's with --namespace")
    owner = found["metadata"].get("labels", {}).get(LABEL)
    if owner != target.release:
        whose = f"belongs to the release {owner}" if owner else "carries no release's label"
        raise FailedPrecondition(
            f"namespace {target.namespace} {whose}; if it is this release's: kubectl label namespace "
            f"{target.namespace} {LABEL}={target.release}",
            reason="FOREIGN_NAMESPACE",
        )
    return found


def made_here(namespace: Object, target: Target) -> bool:
    """Whether the tool created it, so that it may be asked to remove it."""
    return bool(namespace["metadata"].get("annotations", {}).get(CREATED) == target.release)
