"""What the runbook says of a restored store, on a real MinIO: a copy of a bucket, taken in the midst of work."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from conftest import MinioServer
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from minio import Minio

from assay.artifacts.gc import collect_garbage
from assay.artifacts.objects import open_object_store
from assay.artifacts.store import ArtifactStore
from assay.errors import Aborted, DataLoss, NotFound
from assay.operations.lease import is_free
from assay.operations.records import OperationRecords, Specification, StepRecord

NUMBERS = count(1)
OpenBucket = Callable[[str], ArtifactStore]


@pytest.fixture
def open_bucket(minio_server: MinioServer, tmp_path: Path) -> OpenBucket:
    keys = {"ASSAY_S3_ACCESS_KEY": minio_server.access_key, "ASSAY_S3_SECRET_KEY": minio_server.secret_key}

    def opened(name: str) -> ArtifactStore:
        objects = open_object_store(f"s3://{name}?endpoint={minio_server.endpoint}", keys)
        return ArtifactStore(objects, cache_dir=tmp_path / f"cache-{next(NUMBERS)}")

    return opened


def copied(server: MinioServer, source: str, *, without: str = "nothing") -> str:
    """A new bucket with what `source` holds, each object put anew, but those whose name has `without` in it."""
    client = Minio(server.address, access_key=server.access_key, secret_key=server.secret_key, secure=False)
    target = f"copy-{next(NUMBERS)}"
    client.make_bucket(target)
    for found in client.list_objects(source, recursive=True):
        if without not in str(found.object_name):
            data = client.get_object(source, str(found.object_name)).read()
            client.put_object(target, str(found.object_name), io.BytesIO(data), len(data))
    return target


def bucket_of(server: MinioServer) -> str:
    server.make_bucket(name := f"original-{next(NUMBERS)}")
    return name


def test_what_the_copy_caught_in_the_middle_is_missed_and_put_back(
    minio_server: MinioServer, open_bucket: OpenBucket
) -> None:
    original = open_bucket(name := bucket_of(minio_server))
    files = {"a": b"first", "b": b"second"}
    digest = original.put("text", files)
    missing = next(file.sha256 for file in original.manifest(digest).files if file.path == "b")

    restored = open_bucket(copied(minio_server, name, without=missing))
    assert restored.read(digest, "a") == b"first"
    with pytest.raises((NotFound, DataLoss)):
        restored.read(digest, "b")
    assert restored.put("text", files) == digest
    assert restored.read(digest, "b") == b"second"


def test_labels_point_where_they_did(minio_server: MinioServer, open_bucket: OpenBucket) -> None:
    original = open_bucket(name := bucket_of(minio_server))
    before, after = (original.put("text", {"a": content}) for content in (b"before", b"after"))
    version = original.set_label("best", before, None)
    copy = copied(minio_server, name)
    moved = original.set_label("best", after, version)

    restored = open_bucket(copy)
    found = restored.label("best")
    assert found is not None
    assert found.digest == before
    with pytest.raises(Aborted):
        restored.set_label("best", before, moved)
    restored.set_label("best", before, found.version)


def test_operations_go_on_from_the_copy(minio_server: MinioServer, open_bucket: OpenBucket) -> None:
    original = OperationRecords(open_bucket(name := bucket_of(minio_server)).objects)

    def begun(letter: str) -> Specification:
        made = Specification(letter * 32, "moe_router", "Calibrate", "me", str(uuid.uuid4()), 1.0, "", b"request")
        return original.create(made)

    def finish(specification: Specification) -> None:
        done = operations_pb2.Operation(done=True)
        original.commit_result("moe_router", specification.operation_id, done, 2.0)

    step = StepRecord("0" * 64, any_pb2.Any(value=b"reply"))
    finished, open_then = begun("a"), begun("b")
    finish(finished)
    original.commit_step(open_then.operation_id, "shard/0", step)
    original.write_lease(open_then.operation_id, {"owner": "dead", "expires_unix_s": time.time() + 1}, None)
    copy = copied(minio_server, name)
    original.commit_step(open_then.operation_id, "shard/1", step)
    finish(open_then)
    since = begun("c")

    restored = OperationRecords(open_bucket(copy).objects)
    assert restored.result(finished.operation_id) is not None
    assert list(restored.open_ids("moe_router")) == [open_then.operation_id]
    assert restored.result(open_then.operation_id) is None
    assert restored.step(open_then.operation_id, "shard/0") == step
    assert restored.step(open_then.operation_id, "shard/1") is None
    lease = restored.lease_content(open_then.operation_id)
    assert lease is not None
    time.sleep(max(0.0, lease["expires_unix_s"] - time.time()) + 0.01)
    assert is_free(lease, "another front")
    with pytest.raises(NotFound):
        restored.specification(since.operation_id)
    assert restored.create(since) == since


def test_the_rehearsal_names_what_is_damaged_and_deletes_nothing(
    minio_server: MinioServer, open_bucket: OpenBucket
) -> None:
    original = open_bucket(name := bucket_of(minio_server))
    digest = original.put("text", {"a": b"kept"})
    original.set_label("kept", digest, None)
    copy = copied(minio_server, name)
    client = Minio(
        minio_server.address, access_key=minio_server.access_key, secret_key=minio_server.secret_key, secure=False
    )
    client.put_object(copy, f"artifacts/{digest.removeprefix('sha256:')}.json", io.BytesIO(b"{}"), 2)

    with pytest.raises(DataLoss, match=digest):
        collect_garbage(open_bucket(copy), grace_s=0.0, dry_run=True)
    with pytest.raises(DataLoss, match=digest):
        collect_garbage(open_bucket(copy), grace_s=0.0)
    assert len(list(client.list_objects(copy, prefix="blobs/", recursive=True))) == 1
