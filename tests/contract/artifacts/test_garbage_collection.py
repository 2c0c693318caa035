"""Garbage collection keeps what is needed, whatever writers do meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from assay.artifacts import intents
from assay.artifacts.intents import intent
from assay.artifacts.objects import ObjectStore
from assay.artifacts.store import ArtifactStore
from assay.errors import Aborted, DataLoss, FailedPrecondition, InvalidInput, NotFound

DAY_S = 24 * 3600.0


class Interrupted:
    """An object store that calls `before(method, key)` first; what it calls in turn goes through unhindered."""

    def __init__(self, inner: ObjectStore, before: Callable[[str, str], None]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def interrupted(key: str, *arguments: Any, **options: Any) -> Any:
            self._before(name, key)
            return method(key, *arguments, **options)

        return interrupted


def digests(store: ArtifactStore) -> set[str]:
    return {artifact.digest for artifact in store.list()}


def blobs(store: ArtifactStore) -> set[str]:
    return {info.key.removeprefix("blobs/") for info in store.objects.list("blobs/")}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_nothing_refers_to_goes_and_its_bytes_are_counted(artifacts: ArtifactStore) -> None:
    kept = artifacts.put("text", {"a": b"shared", "b": b"kept"})
    artifacts.set_label("kept", kept, None)
    gone = artifacts.put("text", {"a": b"shared", "c": b"gone"})
    manifest_bytes = len(artifacts.manifest(gone).to_bytes())

    planned = artifacts.collect_garbage(grace_s=0, dry_run=True)
    assert digests(artifacts) == {kept, gone}
    report = artifacts.collect_garbage(grace_s=0)

    assert digests(artifacts) == {kept}
    assert blobs(artifacts) == {sha256(b"shared"), sha256(b"kept")}
    assert (report.artifacts_kept, report.artifacts_removed) == (1, 1)
    assert (report.blobs_kept, report.blobs_removed, report.bytes_removed) == (2, 1, 4 + manifest_bytes)
    assert (planned.dry_run, planned.bytes_removed) == (True, report.bytes_removed)
    assert artifacts.collect_garbage(grace_s=0).artifacts_removed == 0


def test_what_is_fresh_stays(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": b"1"})
    report = artifacts.collect_garbage(grace_s=DAY_S)
    assert (report.artifacts_removed, report.blobs_removed) == (0, 0)
    assert digests(artifacts) == {digest}
    with pytest.raises(InvalidInput):
        artifacts.collect_garbage(grace_s=-1)


def test_inputs_of_what_stays_stay_transitively(artifacts: ArtifactStore) -> None:
    first = artifacts.put("model", {"a": b"1"})
    second = artifacts.put("text", {"a": b"2"}, inputs=[first])
    third = artifacts.put("report", {"a": b"3"}, inputs=[second])
    artifacts.put("report", {"a": b"4"}, inputs=[second])
    artifacts.set_label("result", third, None)
    artifacts.collect_garbage(grace_s=0)
    assert digests(artifacts) == {first, second, third}


def test_what_an_operation_mentions_stays_until_the_operation_goes(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": b"1"})
    # Larger than one read of the scan, with the digest across the seam.
    record = b"x" * (2**20 - 30) + digest.encode() + b"x" * 100
    artifacts.objects.put_if_absent("operations/1/steps/shard", record)
    artifacts.collect_garbage(grace_s=0)
    assert digests(artifacts) == {digest}
    artifacts.objects.delete("operations/1/steps/shard")
    artifacts.collect_garbage(grace_s=0)
    assert digests(artifacts) == set()


def test_what_a_writer_declared_stays(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": b"1"})
    artifacts.objects.put_if_absent(f"blobs/{sha256(b'loose')}", b"loose")
    with intent(artifacts.objects, artifacts=[digest], blobs=[sha256(b"loose")]):
        artifacts.collect_garbage(grace_s=0)
        assert digests(artifacts) == {digest}
        assert sha256(b"loose") in blobs(artifacts)
    artifacts.collect_garbage(grace_s=0)
    assert digests(artifacts) == blobs(artifacts) == set()


def test_nothing_is_deleted_where_a_needed_manifest_cannot_be_read(artifacts: ArtifactStore) -> None:
    kept = artifacts.put("text", {"a": b"kept"})
    artifacts.set_label("kept", kept, None)
    garbage = artifacts.put("text", {"a": b"garbage"})
    key = f"artifacts/{kept.removeprefix('sha256:')}.json"
    data = artifacts.objects.get(key)
    artifacts.objects.delete(key)
    artifacts.objects.put_if_absent(key, data[:-1])
    with pytest.raises(DataLoss):
        artifacts.collect_garbage(grace_s=0)
    assert blobs(artifacts) == {sha256(b"kept"), sha256(b"garbage")}
    assert digests(artifacts) == {garbage}


def test_only_one_collection_runs_at_a_time(artifacts: ArtifactStore) -> None:
    refused = []

    def collect_inside(method: str, key: str) -> None:
        if (method, key) == ("list", "artifacts/"):
            with pytest.raises(FailedPrecondition):
                artifacts.collect_garbage(grace_s=0)
            refused.append(key)

    outer = ArtifactStore(Interrupted(artifacts.objects, collect_inside), cache_dir=artifacts._cache.root)
    outer.collect_garbage(grace_s=0)
    assert refused == ["artifacts/"]
    artifacts.collect_garbage(grace_s=0)


def test_a_collection_between_a_writers_look_and_its_manifest_takes_nothing_it_relies_on(
    artifacts: ArtifactStore,
) -> None:
    # Without intents the writer would see the old blob, lose it here, and store a manifest that points nowhere.
    made_from = artifacts.put("text", {"a": b"old"})
    collected = []

    def collect(method: str, key: str) -> None:
        if method == "put_if_absent" and key.startswith("artifacts/"):
            collected.append(artifacts.collect_garbage(grace_s=0))

    writer = ArtifactStore(Interrupted(artifacts.objects, collect), cache_dir=artifacts._cache.root)
    digest = writer.put("report", {"a": b"old", "b": b"new"}, inputs=[made_from])
    assert len(collected) == 1
    for artifact in artifacts.lineage(digest):
        artifacts.path(artifact.digest)


def test_a_writer_that_comes_in_the_midst_of_a_collection_waits_and_looks_again(artifacts: ArtifactStore) -> None:
    artifacts.put("text", {"a": b"old"})
    listed = threading.Event()

    def hold_the_manifest(method: str, key: str) -> None:
        # A manifest that is stored before the collector lists them is fresh, and its blob is rightly spared.
        if method == "put_if_absent" and key.startswith("artifacts/"):
            assert listed.wait(timeout=30)

    writer = ArtifactStore(Interrupted(artifacts.objects, hold_the_manifest), cache_dir=artifacts._cache.root)
    with ThreadPoolExecutor(1) as pool:
        written = []

        def begin_writing(method: str, key: str) -> None:
            # The collector has read the intents by now and will delete the old blob.
            if (method, key) == ("list", "artifacts/"):
                written.append(pool.submit(writer.put, "report", {"a": b"old"}))
                while not list(artifacts.objects.list("intents/")):
                    time.sleep(0.01)
            if (method, key) == ("list", "labels/"):
                listed.set()

        collector = ArtifactStore(Interrupted(artifacts.objects, begin_writing), cache_dir=artifacts._cache.root)
        assert collector.collect_garbage(grace_s=0).blobs_removed == 1
        digest = written[0].result(timeout=30)
    assert artifacts.read(digest, "a") == b"old"


def test_a_collection_that_slept_past_its_lifetime_deletes_nothing(
    artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Writers stop waiting for a silent collector; one that wakes up again must not delete what they rely on now.
    digest = artifacts.put("text", {"a": b"1"})
    monkeypatch.setattr(intents, "SWEEP_LIFETIME_S", 0.4)

    def sleep(method: str, key: str) -> None:
        if (method, key) == ("list", "operations/"):
            time.sleep(0.5)

    collector = ArtifactStore(Interrupted(artifacts.objects, sleep), cache_dir=artifacts._cache.root)
    with pytest.raises(Aborted):
        collector.collect_garbage(grace_s=0)
    assert digests(artifacts) == {digest}


def put_and_label(store: ArtifactStore, name: str, files: Mapping[str, bytes], base: str) -> str:
    """Puts and labels until the artifact is held: with no grace it may be collected before its label stands."""
    while True:
        digest = store.put("text", dict(files), inputs=[base])
        try:
            store.set_label(name, digest, None)
        except NotFound:
            continue
        return digest


def test_collections_without_grace_racing_with_8_writers_lose_nothing(artifacts: ArtifactStore) -> None:
    base = artifacts.put("model", {"w": b"base"})
    artifacts.set_label("base", base, None)
    stop = threading.Event()
    runs: list[int] = []

    def collect() -> None:
        while not stop.is_set():
            runs.append(artifacts.collect_garbage(grace_s=0).artifacts_removed)
            time.sleep(0.05)

    def write(writer: int) -> list[str]:
        found = []
        for number in range(3):
            # Every writer uses blobs that others use, and leaves artifacts that nobody keeps.
            shared = {f"{n}": f"shared {n}".encode() for n in range(number + 1)}
            artifacts.put("text", {**shared, "own": f"dropped {writer} {number}".encode()})
            files = {**shared, "own": f"kept {writer} {number}".encode()}
            found.append(put_and_label(artifacts, f"w{writer}/{number}", files, base))
        return found

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            kept = [digest for found in pool.map(write, range(8)) for digest in found]
    finally:
        stop.set()
        collector.join()
    artifacts.collect_garbage(grace_s=0)
    assert len(set(kept)) == 24
    assert digests(artifacts) == {*kept, base}
    for digest in kept:
        artifacts.path(digest)
    assert list(artifacts.objects.list("intents/")) == []
    assert len(runs) > 1
