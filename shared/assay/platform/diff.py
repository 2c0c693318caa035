"""What would change: live objects against what the server itself says they would be. Values of secrets stay hidden."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assay.errors import AssayError, FailedPrecondition
from assay.platform.api import Cluster, Object

MANAGER = "helm"
HOOK = "helm.sh/hook"
# Set by the server or by Helm itself: no one's decision.
NOISE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
NOISY_ANNOTATIONS = ("meta.helm.sh/", "kubectl.kubernetes.io/", "deployment.kubernetes.io/")
HIDDEN, HIDDEN_OTHER = "(hidden)", "(hidden; another)"

Verb = Literal["create", "change", "delete", "same"]


@dataclass(frozen=True)
class Change:
    """text: a unified diff; empty where nothing changes."""

    verb: Verb
    kind: str
    name: str
    text: str


def changes(cluster: Cluster, namespace: str, old: Sequence[Object], new: Sequence[Object]) -> list[Change]:
    """Of a release from the manifest `old` to `new`. Raises FailedPrecondition with every object the server refuses.

    Helm merges three ways: what `old` set and `new` no longer does goes, what others set stays.
    """
    found: list[Change] = []
    refused: list[str] = []
    before = {_key(each): each for each in old}
    lasting = [each for each in new if not is_hook(each)]
    for wanted in lasting:
        meta = wanted["metadata"]
        try:
            path = cluster.path_of(
                wanted["apiVersion"], wanted["kind"], meta.get("namespace") or namespace, meta["name"]
            )
            live = cluster.find(path)
            after = cluster.apply(wanted, manager=MANAGER, namespace=namespace, dry_run=True)
        except AssayError as error:
            refused.append(f"{wanted['kind']} {meta['name']}: {error.message}")
            continue
        if (was := before.get(_key(wanted))) is not None:
            _drop(after, was, wanted)
        found.append(_change(live, after))
    if refused:
        raise FailedPrecondition(f"the API server would refuse {'; '.join(refused)}", reason="REFUSED")
    kept = {_key(each) for each in lasting}
    for gone in (each for each in old if not is_hook(each) and _key(each) not in kept):
        path = cluster.path_of(gone["apiVersion"], gone["kind"], namespace, gone["metadata"]["name"])
        if (live := cluster.find(path)) is not None:
            found.append(_change(live, None))
    return found


def creations(new: Sequence[Object]) -> list[Change]:
    """All of them, for a namespace that is not there: nothing to compare with, nobody to ask."""
    return [_change(None, each) for each in new if not is_hook(each)]


def is_hook(found: Object) -> bool:
    return HOOK in (found["metadata"].get("annotations") or {})


def _key(found: Object) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def _change(live: Object | None, after: Object | None) -> Change:
    shown = live or after
    assert shown is not None
    left, right = _shown(live), _shown(after)
    if shown["kind"] == "Secret":
        _hide(left, right)
    name = f"{shown['kind']}/{shown['metadata']['name']}"
    text = "\n".join(difflib.unified_diff(_lines(left), _lines(right), f"{name} (live)", f"{name} (new)", lineterm=""))
    verb: Verb = "create" if live is None else "delete" if after is None else "change" if text else "same"
    return Change(verb, shown["kind"], shown["metadata"]["name"], text)


def _shown(found: Object | None) -> Object | None:
    """Without status and what the server keeps for itself."""
    if found is None:
        return None
    kept = copy.deepcopy({key: value for key, value in found.items() if key != "status"})
    meta = kept["metadata"]
    for name in NOISE:
        meta.pop(name, None)
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if not k.startswith(NOISY_ANNOTATIONS)}
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    return kept


def _hide(left: Object | None, right: Object | None) -> None:
    for part in ("data", "stringData"):
        before = dict(left.get(part) or {}) if left else {}
        if left and before:
            left[part] = dict.fromkeys(before, HIDDEN)
        if right and right.get(part):
            right[part] = {
                key: HIDDEN_OTHER if before.get(key, value) != value else HIDDEN for key, value in right[part].items()
            }


def _lines(found: Object | None) -> list[str]:
    import yaml

    return [] if found is None else str(yaml.safe_dump(found, sort_keys=True, width=200)).splitlines()


def _drop(after: Any, was: Any, wanted: Any) -> None:
    """Takes out of `after` what `was` set and `wanted` does not: an apply of another manager leaves it there."""
    if isinstance(was, Mapping) and isinstance(wanted, Mapping) and isinstance(after, dict):
        for key in list(after):
            if key in was and key not in wanted:
                del after[key]
            elif key in was and key in wanted:
                _drop(after[key], was[key], wanted[key])
    elif isinstance(was, list) and isinstance(wanted, list) and isinstance(after, list):
        merged = _merge_key([*was, *wanted, *after])
        if merged is None:
            return
        old, new = ({each[merged]: each for each in items} for items in (was, wanted))
        after[:] = [each for each in after if each[merged] in new or each[merged] not in old]
        for each in after:
            if each[merged] in old and each[merged] in new:
                _drop(each, old[each[merged]], new[each[merged]])


def _merge_key(items: Sequence[Any]) -> str | None:
    """What tells items of a list apart: as Kubernetes has it for containers, ports, volumes and mounts."""
    for key in ("name", "mountPath", "containerPort", "port", "key"):
        if items and all(isinstance(each, Mapping) and key in each for each in items):
            return key
    return None
