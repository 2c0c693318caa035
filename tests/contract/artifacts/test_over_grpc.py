"""Artifacts over gRPC: what is not whole is not kept, what is damaged reaches nobody, what climbs out is refused."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from probe.serving import serving_in_thread

from assay.artifacts.objects import ObjectStore
from assay.artifacts.remote import RemoteArtifacts
from assay.artifacts.store import ArtifactStore
from assay.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from assay.client.errors import error_from_rpc
from assay.errors import (
    Aborted,
    AssayError,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    OutOfRange,
    ResourceExhausted,
)

MEBIBYTE = 2**20
UploadBlob = artifacts_pb2.UploadBlobRequest
Stub = artifacts_pb2_grpc.ArtifactServiceStub


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the front in this process keeps uploads that are not whole yet."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    return folder


@pytest.fixture
def channel(store_url: str) -> Iterator[grpc.Channel]:
    with serving_in_thread(store_url) as address, grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def remote(channel: grpc.Channel) -> RemoteArtifacts:
    return RemoteArtifacts(channel)


@pytest.fixture
def stub(channel: grpc.Channel) -> Stub:
    return Stub(channel)


def declaration(data: bytes, *, sha256: str | None = None, size_bytes: int | None = None) -> UploadBlob:
    return UploadBlob(
        declaration=artifacts_pb2.BlobDeclaration(
            sha256=hashlib.sha256(data).hexdigest() if sha256 is None else sha256,
            size_bytes=len(data) if size_bytes is None else size_bytes,
        )
    )


def part(data: bytes) -> UploadBlob:
    return UploadBlob(data=data)


COMMIT = UploadBlob(commit=artifacts_pb2.BlobCommit())


def failure(call: Callable[[], object]) -> AssayError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value)


def nothing_kept(objects: ObjectStore, spool_folder: Path) -> bool:
    incoming = getattr(objects, "root", spool_folder) / "incoming"
    left = list(incoming.iterdir()) if incoming.is_dir() else []
    return not [*objects.list("blobs/"), *objects.list("artifacts/"), *left, *spool_folder.glob("assay-upload-*")]


def test_a_tree_goes_there_and_back_with_its_lineage(
    remote: RemoteArtifacts, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "model/deep").mkdir(parents=True)
    (tmp_path / "model/deep/weights").write_bytes(os.urandom(5 * MEBIBYTE + 1))
    (tmp_path / "model/empty").write_bytes(b"")
    seen = []
    model = remote.put(
        "model", tmp_path / "model", progress=lambda done, total, unit="", **_: seen.append((done, total))
    )
    report = remote.put("report", {"r.json": b"{}"}, inputs=[model], parameters={"seed": 3}, versions={"assay": "1"})
    # The same tree has the same name wherever it is put.
    assert artifacts.put("model", tmp_path / "model") == model
    assert artifacts.manifest(report).parameters == {"seed": 3}
    assert seen[-1] == (5 * MEBIBYTE + 1, 5 * MEBIBYTE + 1)

    fetched = remote.download(model, tmp_path / "fetched")
    assert (fetched / "deep/weights").read_bytes() == (tmp_path / "model/deep/weights").read_bytes()
    assert (fetched / "empty").read_bytes() == b""
    assert [found.digest for found in remote.lineage(report)] == [model, report]
    assert {found.digest for found in remote.list()} == {model, report}
    assert [found.digest for found in remote.list("report")] == [report]
    version = remote.set_label("current", model, None)
    assert remote.resolve("current") == remote.resolve(model[:20]) == model
    with pytest.raises(Aborted):
        remote.set_label("current", report, "another version")
    remote.set_label("current", report, version)
    assert remote.resolve("current") == report


def test_what_the_service_holds_is_not_sent_again(remote: RemoteArtifacts, stub: Stub) -> None:
    remote.put("text", {"a": b"1" * MEBIBYTE})
    held = hashlib.sha256(b"1" * MEBIBYTE).hexdigest()
    absent = hashlib.sha256(b"2").hexdigest()
    assert list(stub.FindBlobs(artifacts_pb2.FindBlobsRequest(sha256=[absent, held])).sha256) == [held]
    sent = []
    remote.put("text", {"b": b"1" * MEBIBYTE}, progress=lambda done, total, unit="", **_: sent.append(total))
    assert sum(sent) == 0


def test_an_upload_that_is_cancelled_half_way_leaves_nothing(
    stub: Stub, objects: ObjectStore, spool_folder: Path
) -> None:
    data = os.urandom(4 * MEBIBYTE)
    half_sent, go_on = threading.Event(), threading.Event()

    def half() -> Iterator[UploadBlob]:
        yield declaration(data)
        yield part(data[:MEBIBYTE])
        yield part(data[MEBIBYTE : 2 * MEBIBYTE])
        half_sent.set()
        go_on.wait(30)

    upload = stub.UploadBlob.future(half())
    assert half_sent.wait(30)
    deadline = time.monotonic() + 30
    while sum(file.stat().st_size for file in spool_folder.iterdir()) < MEBIBYTE:
        assert time.monotonic() < deadline, "the front received nothing"
        time.sleep(0.01)
    upload.cancel()
    go_on.set()
    while not nothing_kept(objects, spool_folder):
        assert time.monotonic() < deadline, "something was kept"
        time.sleep(0.01)
    with pytest.raises(grpc.FutureCancelledError):
        upload.result()


DATA = b"0123456789" * 1000


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([declaration(DATA), part(DATA)], Aborted),
        ([declaration(DATA)], Aborted),
        ([declaration(DATA), part(DATA[:-1]), COMMIT], Aborted),
        ([declaration(DATA), COMMIT], Aborted),
        ([declaration(DATA, sha256="0" * 64), part(DATA), COMMIT], Aborted),
        ([declaration(DATA), part(DATA[::-1]), COMMIT], Aborted),
        ([declaration(DATA), part(DATA), part(b"x"), COMMIT], InvalidInput),
        ([declaration(DATA), part(DATA), COMMIT, part(b"")], InvalidInput),
        ([declaration(DATA), part(DATA), COMMIT, COMMIT], InvalidInput),
        ([declaration(DATA), declaration(DATA), part(DATA), COMMIT], InvalidInput),
        ([part(DATA), COMMIT], InvalidInput),
        ([COMMIT], InvalidInput),
        ([], InvalidInput),
        ([UploadBlob()], InvalidInput),
        ([declaration(DATA), UploadBlob(), part(DATA), COMMIT], InvalidInput),
        ([declaration(DATA, sha256="../../etc/passwd"), part(DATA), COMMIT], InvalidInput),
        ([declaration(DATA, sha256=""), part(DATA), COMMIT], InvalidInput),
        ([declaration(DATA, size_bytes=-1), COMMIT], InvalidInput),
        ([declaration(DATA, size_bytes=2**62), part(DATA), COMMIT], ResourceExhausted),
    ],
    ids=["no commit", "declared only", "too few bytes", "no bytes", "wrong hash", "other bytes", "too many bytes",
         "data after the commit", "two commits", "declared twice", "no declaration", "commit only", "empty stream",
         "empty message", "empty part", "hash that climbs out", "no hash", "negative size", "enormous size"],
)  # fmt: skip
def test_an_upload_that_is_not_whole_is_refused_and_leaves_nothing(
    stub: Stub, objects: ObjectStore, spool_folder: Path, parts: list[UploadBlob], error: type[AssayError]
) -> None:
    assert type(failure(lambda: stub.UploadBlob(iter(parts)))) is error
    assert nothing_kept(objects, spool_folder)


def test_an_upload_in_any_pieces_is_kept_once(stub: Stub, objects: ObjectStore) -> None:
    pieces = [part(DATA[:1]), part(b""), part(DATA[1:5000]), part(DATA[5000:])]
    assert stub.UploadBlob(iter([declaration(DATA), *pieces, COMMIT])).created
    assert not stub.UploadBlob(iter([declaration(DATA), *pieces, COMMIT])).created
    assert stub.UploadBlob(iter([declaration(b""), COMMIT])).created
    assert objects.get(f"blobs/{hashlib.sha256(DATA).hexdigest()}") == DATA


def test_an_artifact_needs_its_blobs_and_its_inputs(stub: Stub, remote: RemoteArtifacts, objects: ObjectStore) -> None:
    stub.UploadBlob(iter([declaration(DATA), part(DATA), COMMIT]))
    sha256 = hashlib.sha256(DATA).hexdigest()

    def create(size_bytes: int, name: str, *inputs: str) -> Callable[[], object]:
        file = artifacts_pb2.File(path="a", size_bytes=size_bytes, sha256=name)
        manifest = artifacts_pb2.Manifest(kind="text", files=[file], inputs=inputs)
        return lambda: stub.CreateArtifact(artifacts_pb2.CreateArtifactRequest(manifest=manifest))

    for call in (create(len(DATA), "1" * 64), create(len(DATA) - 1, sha256)):
        error = failure(call)
        assert isinstance(error, FailedPrecondition)
        assert error.reason == "BLOB_MISSING"
    assert isinstance(failure(create(len(DATA), sha256, f"sha256:{'1' * 64}")), NotFound)
    assert list(objects.list("artifacts/")) == []
    create(len(DATA), sha256)()
    assert len(list(remote.list())) == 1


def test_what_is_not_there_is_not_found(remote: RemoteArtifacts, tmp_path: Path) -> None:
    unknown = f"sha256:{'0' * 64}"
    for look in (remote.get, remote.lineage, remote.resolve, lambda reference: remote.read(reference, "a")):
        for reference in (unknown, unknown[:20], "no-such-label"):
            with pytest.raises(NotFound):
                look(reference)
    with pytest.raises(NotFound):
        remote.download(unknown, tmp_path / "fetched")
    with pytest.raises(NotFound):
        remote.set_label("label", unknown, None)
    assert remote.label("no-such-label") is None
    digest = remote.put("text", {"a": b"1"})
    with pytest.raises(InvalidInput, match="path"):
        remote.read(digest, "b")
    assert not (tmp_path / "fetched").exists()


def test_a_range_is_exactly_what_was_asked_for(stub: Stub, remote: RemoteArtifacts) -> None:
    data = os.urandom(2 * MEBIBYTE + 12_345)
    digest = remote.put("text", {"a": data})

    def read(offset: int, length: int = 0) -> bytes:
        request = artifacts_pb2.ReadFileRequest(reference=digest, path="a", offset_bytes=offset, length_bytes=length)
        return b"".join(answer.data for answer in stub.ReadFile(request))

    for offset, length in [(0, 1), (7, 3), (MEBIBYTE - 1, 2), (1, 2 * MEBIBYTE), (len(data) - 1, 1), (5, 10**9)]:
        assert read(offset, length) == data[offset : offset + length]
    assert read(0) == data
    assert read(MEBIBYTE) == data[MEBIBYTE:]
    assert read(len(data)) == b""
    assert isinstance(failure(lambda: read(len(data) + 1)), OutOfRange)
    for offset, length, field in [(-1, 0, "offset_bytes"), (0, -1, "length_bytes")]:
        error = failure(lambda offset=offset, length=length: read(offset, length))
        assert isinstance(error, InvalidInput)
        assert error.violations[0].field == field


def test_a_damaged_artifact_is_data_loss_and_leaves_what_was_there(
    remote: RemoteArtifacts,
    artifacts: ArtifactStore,
    overwrite_blob: Callable[[str, bytes], None],
    tmp_path: Path,
) -> None:
    old = remote.put("plan", {"plan.json": b"old"})
    remote.set_label("active", old, None)
    data = os.urandom(3 * MEBIBYTE)
    new = remote.put("plan", {"plan.json": data, "notes": b"fine"})
    overwrite_blob(hashlib.sha256(data).hexdigest(), data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DataLoss) as caught:
        remote.read(new, "plan.json")
    assert new in caught.value.message
    with pytest.raises(DataLoss):
        remote.download(new, tmp_path / "fetched")
    # No half of it lies there, nor beside it.
    assert [path.name for path in tmp_path.iterdir() if "fetched" in path.name] == []
    assert remote.read(new, "notes") == b"fine"
    assert remote.read("active", "plan.json") == b"old"


def test_a_damaged_manifest_is_data_loss(remote: RemoteArtifacts, objects: ObjectStore) -> None:
    digest = remote.put("text", {"a": b"1"})
    key = f"artifacts/{digest.removeprefix('sha256:')}.json"
    data = objects.get(key)
    objects.delete(key)
    objects.put_if_absent(key, data.replace(b'"text"', b'"test"'))
    for look in (remote.get, remote.lineage, lambda reference: remote.read(reference, "a")):
        with pytest.raises(DataLoss):
            look(digest)
    assert list(remote.list()) == []


ESCAPES = ["../evil", "a/../../evil", "/etc/evil", "..", ".", "a//b", "a/", "\\evil", "C:evil", "a\nb", ""]


@pytest.mark.parametrize("path", ESCAPES, ids=repr)
def test_members_that_lead_out_of_the_tree_are_refused(
    stub: Stub, remote: RemoteArtifacts, objects: ObjectStore, path: str
) -> None:
    file = artifacts_pb2.File(path=path, size_bytes=0, sha256=hashlib.sha256(b"").hexdigest())
    stub.UploadBlob(iter([declaration(b""), COMMIT]))
    request = artifacts_pb2.CreateArtifactRequest(manifest=artifacts_pb2.Manifest(kind="text", files=[file]))
    error = failure(lambda: stub.CreateArtifact(request))
    assert isinstance(error, InvalidInput)
    assert error.violations[0].field == "files[0].path"
    with pytest.raises(InvalidInput):
        remote.put("text", {path: b"x"})
    assert list(objects.list("artifacts/")) == []


@pytest.mark.parametrize("path", ESCAPES[:3])
def test_a_member_that_leads_out_is_not_followed_even_if_it_got_into_the_store(
    remote: RemoteArtifacts, objects: ObjectStore, tmp_path: Path, path: str
) -> None:
    # As whoever can write to the bucket could do, with a hash that fits.
    sha256 = hashlib.sha256(b"evil").hexdigest()
    objects.put_if_absent(f"blobs/{sha256}", b"evil")
    manifest = (
        f'{{"files":[{{"path":"{path}","sha256":"{sha256}","size_bytes":4}}],"inputs":[],"kind":"text",'
        '"parameters":{},"schema_version":1,"versions":{}}'
    ).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    objects.put_if_absent(f"artifacts/{digest}.json", manifest)
    with pytest.raises((InvalidInput, DataLoss)):
        remote.download(f"sha256:{digest}", tmp_path / "here/fetched")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "here/evil").exists()


def test_links_are_refused_before_anything_is_sent(
    remote: RemoteArtifacts, objects: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/secret").symlink_to("/etc/passwd")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/folder").symlink_to("/etc")
    for tree in ("tree", "other"):
        with pytest.raises(InvalidInput, match="symbolic link"):
            remote.put("text", tmp_path / tree)
    assert list(objects.list("")) == []


def test_a_page_that_would_not_fit_one_message_is_cut(remote: RemoteArtifacts, stub: Stub) -> None:
    # Each manifest takes over 1 MiB: three to a page of 4 MiB, whatever was asked for.
    made = {remote.put("text", {"a": b"1"}, parameters={"number": n, "padding": "x" * 1_200_000}) for n in range(5)}
    page = stub.ListArtifacts(artifacts_pb2.ListArtifactsRequest(page_size=1000))
    assert 1 <= len(page.artifacts) < 5
    assert {found.digest for found in remote.list()} == made
    assert isinstance(
        failure(lambda: stub.ListArtifacts(artifacts_pb2.ListArtifactsRequest(page_size=1001))), InvalidInput
    )
    assert isinstance(
        failure(lambda: stub.ListArtifacts(artifacts_pb2.ListArtifactsRequest(page_token="../x"))), InvalidInput
    )


def test_8_clients_that_put_overlapping_trees_at_once_agree(remote: RemoteArtifacts, channel: grpc.Channel) -> None:
    from concurrent.futures import ThreadPoolExecutor

    shared = {f"s{n}": bytes([n]) * 100_000 for n in range(4)}
    with ThreadPoolExecutor(8) as pool:
        digests = list(
            pool.map(lambda n: RemoteArtifacts(channel).put("text", {**shared, "own": b"%d" % (n % 3)}), range(8))
        )
    assert len(set(digests)) == 3
    for digest in digests:
        assert remote.read(digest, "s3") == shared["s3"]
