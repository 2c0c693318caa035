"""Takes a release away: its objects, on request its data, and the namespace only where the tool made it."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import FailedPrecondition
from assay.platform import ownership
from assay.platform.api import Cluster, Object
from assay.platform.belongings import sort_out
from assay.platform.finding import several
from assay.platform.helm import Helm, Target


@dataclass(frozen=True)
class Removal:
    """objects: kind and name of what goes. volumes: claims that hold data. namespace: whether it goes too."""

    objects: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...]
    delete_data: bool
    delete_namespace: bool


def prepare_removal(
    cluster: Cluster, target: Target, *, delete_data: bool = False, delete_namespace: bool = False
) -> Removal:
    """Raises NotFound where there is no release, FailedPrecondition where the namespace may not be touched so."""
    namespace = ownership.require_ours(cluster, target)
    manifest = Helm(target).manifest()
    volumes = tuple(_volumes(cluster, target, manifest))
    if delete_namespace and not ownership.made_here(namespace, target):
        raise FailedPrecondition(
            f"namespace {target.namespace} was there before the release; leave out --delete-namespace"
        )
    if delete_namespace and volumes and not delete_data:
        raise FailedPrecondition(
            f"with the namespace the data in {', '.join(volumes)} would go; add --delete-data if they may"
        )
    if delete_namespace:
        others = sort_out(cluster, target, [*manifest, *Helm(target).hooks()], volumes).others
        if others:
            raise FailedPrecondition(
                f"{several(others)} in namespace {target.namespace} is not the release's; remove it first "
                "if it may go, or leave out --delete-namespace",
                reason="FOREIGN_NAMESPACE",
            )
    objects = tuple((found["kind"], found["metadata"]["name"]) for found in manifest)
    return Removal(objects, volumes, delete_data, delete_namespace)


def remove(cluster: Cluster, target: Target, removal: Removal, *, timeout_s: float) -> None:
    """Raises FailedPrecondition where others have moved into a namespace that was to go since it was looked at."""
    helm = Helm(target)
    hooks = helm.hooks()
    ours: frozenset[str] = frozenset()
    if removal.delete_namespace:
        ours = sort_out(cluster, target, [*helm.manifest(), *hooks], removal.volumes).ours
    helm.uninstall(timeout_s=timeout_s)
    for hook in hooks:  # a job that never ended is no business of Helm's
        cluster.delete(cluster.path_of(hook["apiVersion"], hook["kind"], target.namespace, hook["metadata"]["name"]))
    where = f"/api/v1/namespaces/{target.namespace}"
    if removal.delete_data:
        for name in removal.volumes:
            cluster.delete(f"{where}/persistentvolumeclaims/{name}")
    if removal.delete_namespace:
        others = sort_out(cluster, target, hooks, removal.volumes, ours).others
        if others:
            raise FailedPrecondition(
                f"the release is gone, and namespace {target.namespace} stays: {several(others)} in it is not the "
                "release's"
            )
        cluster.delete(where)
        return
    namespace = ownership.read_namespace(cluster, target.namespace)
    kept = removal.volumes and not removal.delete_data
    if namespace is not None and not ownership.made_here(namespace, target) and not kept:
        cluster.patch(where, {"metadata": {"labels": {ownership.LABEL: None}}})


def _volumes(cluster: Cluster, target: Target, manifest: list[Object]) -> list[str]:
    """Claims that the release's StatefulSets made."""
    prefixes = [
        f"{claim['metadata']['name']}-{found['metadata']['name']}-"
        for found in manifest
        if found["kind"] == "StatefulSet"
        for claim in found["spec"].get("volumeClaimTemplates", [])
    ]
    if not prefixes:
        return []
    claims = cluster.list(f"/api/v1/namespaces/{target.namespace}/persistentvolumeclaims")
    names = [found["metadata"]["name"] for found in claims]
    return [name for name in names if any(name.startswith(each) and name[len(each) :].isdigit() for each in prefixes)]
