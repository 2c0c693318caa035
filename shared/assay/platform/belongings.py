"""What in a namespace is a release's: its objects, and whatever controllers made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from assay.platform.api import Cluster, Object
from assay.platform.helm import Target

# The cluster's own, in every namespace; and kinds that only tell of other objects.
EVERYWHERE = ("ConfigMap kube-root-ca.crt", "ConfigMap istio-ca-root-cert", "ServiceAccount default")
TELLING = ("Event", "Endpoints", "EndpointSlice")


class Belongings(NamedTuple):
    """ours: uids. others: kind and name of what is not, those first that nobody else made."""

    ours: frozenset[str]
    others: tuple[str, ...]


def sort_out(
    cluster: Cluster,
    target: Target,
    made: Sequence[Object],
    volumes: Iterable[str],
    known: frozenset[str] = frozenset(),
) -> Belongings:
    """Every object of the namespace, of every kind that the cluster serves.

    made: the manifest, hooks too. volumes: names of claims. known: uids that were the release's before, which
    what controllers leave for a moment still names. PermissionDenied where a kind may not be listed.
    """
    names = {f"{each['kind']} {each['metadata']['name']}" for each in made}
    names |= {f"PersistentVolumeClaim {name}" for name in volumes}
    # cert-manager makes them, and by default nobody owns them.
    names |= {f"Secret {each['spec']['secretName']}" for each in made if each["kind"] == "Certificate"}
    found: dict[str, tuple[str, list[str]]] = {}
    ours = set(known)
    for version, kind in cluster.kinds():
        if kind in TELLING:
            continue
        for each in cluster.list(cluster.path_of(version, kind, target.namespace)):
            meta = each["metadata"]
            name = f"{kind} {meta['name']}"
            found[meta["uid"]] = (name, [owner["uid"] for owner in meta.get("ownerReferences", [])])
            if name in names or _labelled(meta.get("labels", {}), target) or name in EVERYWHERE:
                ours.add(meta["uid"])
    # Owners have owners: until nothing is added.
    while more := {uid for uid, (_, owners) in found.items() if uid not in ours and ours.intersection(owners)}:
        ours |= more
    others = sorted((bool(owners), name) for uid, (name, owners) in found.items() if uid not in ours)
    return Belongings(frozenset(ours), tuple(name for _, name in others))


def _labelled(labels: dict[str, str], target: Target) -> bool:
    """By the chart, or by Helm its own record."""
    recorded = labels.get("owner") == "helm" and labels.get("name") == target.release
    return recorded or labels.get("app.kubernetes.io/instance") == target.release
