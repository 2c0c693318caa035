"""Deletes artifacts and blobs that nothing refers to any more.

Kept are: what labels point at; what any object below operations/ mentions as `sha256:<hex>`; what writers in
flight declared (`assay.artifacts.intents`); every manifest and blob younger than the grace period; and of all
these the inputs, transitively, so that lineage stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from assay.artifacts.intents import Sweep, needed_by_intents, sweep
from assay.artifacts.local import LocalObjectStore
from assay.artifacts.objects import ObjectInfo, ObjectStore
from assay.artifacts.store import ARTIFACTS, BLOBS, ArtifactStore, digest_of_key
from assay.errors import InvalidInput, NotFound

OPERATIONS = "operations/"
PROBES = "probes/"
SCAN_BYTES = 2**20

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_DIGEST_LENGTH = len("sha256:") + 64


@dataclass(frozen=True)
class GarbageReport:
    """What a collection removed, or would remove (dry_run)."""

    dry_run: bool
    artifacts_kept: int
    artifacts_removed: int
    blobs_kept: int
    blobs_removed: int
    bytes_removed: int


def collect_garbage(store: ArtifactStore, *, grace_s: float, dry_run: bool = False) -> GarbageReport:
    """Marks and sweeps. Writers may go on meanwhile; of collectors, one at a time (FailedPrecondition).

    Raises DataLoss, before anything is deleted, where a manifest that has to be kept cannot be read: what it
    refers to is unknown then.
    """
    if grace_s < 0:
        raise InvalidInput("grace_s", f"is {grace_s}; at least 0")
    objects = store.objects
    with sweep(objects) as running:
        now = running.now_unix_s()
        # The order matters: a blob listed here was stored by a writer whose intent, or else whose manifest, is
        # still to be seen below.
        blobs = list(_watched(running, objects.list(BLOBS)))
        needed = needed_by_intents(objects, now)
        manifests = list(_watched(running, objects.list(ARTIFACTS)))
        fresh = {digest_of_key(info.key) for info in manifests if now - info.modified_unix_s < grace_s}
        labelled = {label.digest for label in store.labels()}
        roots = fresh | labelled | needed.artifacts | _mentioned(running, objects)
        kept, kept_blobs = _reachable(running, store, roots, {digest_of_key(info.key) for info in manifests})
        kept_blobs |= needed.blobs | {_sha256(info) for info in blobs if now - info.modified_unix_s < grace_s}

        dead_manifests = [info for info in manifests if digest_of_key(info.key) not in kept]
        dead_blobs = [info for info in blobs if _sha256(info) not in kept_blobs]
        if not dry_run:
            # Manifests first: after a crash in between there are blobs too many, never too few.
            _delete(running, objects, dead_manifests)
            _delete(running, objects, dead_blobs)
            _delete(running, objects, [i for i in objects.list(PROBES) if now - i.modified_unix_s > 24 * 3600])
            if isinstance(objects, LocalObjectStore):
                objects.discard_leftovers()
    return GarbageReport(
        dry_run=dry_run,
        artifacts_kept=len(manifests) - len(dead_manifests),
        artifacts_removed=len(dead_manifests),
        blobs_kept=len(blobs) - len(dead_blobs),
        blobs_removed=len(dead_blobs),
        bytes_removed=sum(info.size_bytes for info in (*dead_manifests, *dead_blobs)),
    )


def _mentioned(running: Sweep, objects: ObjectStore) -> set[str]:
    """Every digest written anywhere below operations/: requests, step replies, results."""
    found: set[str] = set()
    for info in _watched(running, objects.list(OPERATIONS)):
        with suppress(NotFound), objects.open(info.key) as stream:
            window = b""
            while chunk := stream.read(SCAN_BYTES):
                window = window[-(_DIGEST_LENGTH - 1) :] + chunk
                found.update(match.decode() for match in _DIGEST.findall(window))
    return found


def _reachable(
    running: Sweep, store: ArtifactStore, roots: Iterable[str], stored: set[str]
) -> tuple[set[str], set[str]]:
    """Digests of artifacts and SHA-256 of blobs that the roots need; roots that are not stored count for nothing."""
    artifacts: set[str] = set()
    blobs: set[str] = set()
    pending = [digest for digest in roots if digest in stored]
    while pending:
        digest = pending.pop()
        if digest in artifacts:
            continue
        running.keep_alive()
        artifacts.add(digest)
        manifest = store.manifest(digest)
        blobs.update(file.sha256 for file in manifest.files)
        pending.extend(digest for digest in manifest.inputs if digest in stored)
    return artifacts, blobs


def _watched(running: Sweep, infos: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    for info in infos:
        running.keep_alive()
        yield info


def _delete(running: Sweep, objects: ObjectStore, dead: Iterable[ObjectInfo]) -> None:
    for info in dead:
        running.keep_alive()
        objects.delete(info.key)


def _sha256(info: ObjectInfo) -> str:
    return info.key.removeprefix(BLOBS)
