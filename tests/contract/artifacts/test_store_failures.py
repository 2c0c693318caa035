"""A store that dies in the midst of an upload, runs out of disk, or cannot be trusted with two writers."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from probe.serving import serving_in_thread

from assay.artifacts.local import LocalObjectStore
from assay.artifacts.objects import open_object_store
from assay.artifacts.remote import RemoteArtifacts
from assay.errors import FailedPrecondition, ResourceExhausted, Unauthenticated, Unavailable

MEBIBYTE = 2**20
REFUSED = ("If-None-Match", "If-Match")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", "assay-test-user")
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", "assay-test-secret")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


def new_bucket(minio_server: Any) -> str:
    url: str = minio_server.make_bucket(f"fail-{uuid.uuid4().hex[:12]}")
    return url


@contextmanager
def connected(store: str) -> Iterator[RemoteArtifacts]:
    with serving_in_thread(store) as address, grpc.insecure_channel(address) as channel:
        yield RemoteArtifacts(channel)


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.002)


def comes_back_whole(minio_server: Any, store: str, remote: RemoteArtifacts, data: bytes) -> None:
    """Nothing is there after the restart; the same again works, and is there once."""
    minio_server.restart()
    assert list(remote.list()) == []
    digest = remote.put("model", {"weights": data})
    assert remote.read(digest, "weights") == data
    blobs = [info.key for info in open_object_store(store).list("blobs/")]
    assert blobs == [f"blobs/{hashlib.sha256(data).hexdigest()}"]


def test_a_store_killed_before_an_upload_is_committed_is_unavailable_and_works_when_it_is_back(
    minio_server: Any,
) -> None:
    store, data = new_bucket(minio_server), os.urandom(3 * MEBIBYTE)

    def kill_before_the_commit(done: int, total: int, unit: str = "", **figures: float) -> None:
        if done == total:
            minio_server.kill()

    with connected(store) as remote:
        with pytest.raises(Unavailable) as caught:
            remote.put("model", {"weights": data}, progress=kill_before_the_commit)
        assert caught.value.retry_after_s
        comes_back_whole(minio_server, store, remote, data)


def test_a_store_killed_between_two_parts_of_a_large_file_is_unavailable_and_works_when_it_is_back(
    minio_server: Any,
) -> None:
    store, data = new_bucket(minio_server), os.urandom(128 * MEBIBYTE)
    folder = minio_server.data / ".minio.sys/multipart"

    def kill_after_the_first_part() -> None:
        wait_for(lambda: [file for file in folder.rglob("part.*") if file.is_file()])
        minio_server.kill()

    killer = threading.Thread(target=kill_after_the_first_part)
    killer.start()
    with connected(store) as remote:
        with pytest.raises(Unavailable) as caught:
            remote.put("model", {"weights": data})
        assert caught.value.retry_after_s
        killer.join()
        comes_back_whole(minio_server, store, remote, data)


def test_a_store_that_hangs_is_unavailable_too(minio_server: Any) -> None:
    with connected(new_bucket(minio_server)) as remote:
        digest = remote.put("text", {"a": b"1"})
        process = minio_server._process
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable) as caught:
                remote.get(digest)
            assert caught.value.retry_after_s
        finally:
            process.send_signal(signal.SIGCONT)
        assert remote.read(digest, "a") == b"1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small tmpfs (root): {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_minio(small_disk: Path, minio_server: Any) -> Iterator[Any]:
    """A MinIO whose disk is small."""
    server = type(minio_server)(minio_server.program, small_disk / "data")
    server.start()
    yield server
    server.kill()


def fill(remote: RemoteArtifacts, megabytes: int) -> ResourceExhausted:
    """The error that ends filling the store, one artifact of 4 MiB after the other."""
    for _ in range(megabytes // 4 + 20):
        try:
            remote.put("text", {"a": os.urandom(4 * MEBIBYTE)})
        except ResourceExhausted as error:
            return error
        except Unavailable as error:
            # MinIO looks at its disk every few seconds only; what it runs into meanwhile it calls an internal error.
            time.sleep(min(0.2, error.retry_after_s or 60))
    raise AssertionError("the disk was never full")


def test_a_bucket_without_room_is_resource_exhausted_and_what_it_holds_stays_readable(small_minio: Any) -> None:
    store = small_minio.make_bucket("small-bucket")
    with connected(store) as remote:
        first = remote.put("text", {"a": b"1"})
        error = fill(remote, 96)
        assert "no space is left" in error.message
        assert remote.read(first, "a") == b"1"
        # Whatever the front told, it told the truth: every artifact that was put is whole.
        for artifact in remote.list():
            assert len(remote.read(artifact.digest, "a")) == artifact.size_bytes


def test_a_directory_without_room_is_resource_exhausted_and_what_it_holds_stays_readable(
    small_disk: Path, tmp_path: Path
) -> None:
    with connected((small_disk / "store").as_uri()) as remote:
        first = remote.put("text", {"a": b"1"})
        assert "no space is left" in fill(remote, 96).message
        assert remote.read(first, "a") == b"1"
        assert list((small_disk / "store/incoming").iterdir()) == []
        for artifact in remote.list():
            assert len(remote.read(artifact.digest, "a")) == artifact.size_bytes


def test_a_spool_without_room_is_resource_exhausted(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with connected((tmp_path / "store").as_uri()) as remote:
        with pytest.raises(ResourceExhausted):
            remote.put("text", {"a": os.urandom(97 * MEBIBYTE)})
        assert list(small_disk.iterdir()) == []
        assert remote.put("text", {"a": b"1"})


PUT_FOR_EVER = """
import os, sys
from assay.artifacts.objects import open_object_store
objects = open_object_store(sys.argv[1])
print("ready", flush=True)
for number in range(10**6):
    objects.put_if_absent(f"blobs/{number}", b"%d" % (number % 10) * 3_000_000)
"""


def test_a_writer_killed_in_the_midst_leaves_no_half_object_in_a_directory(tmp_path: Path) -> None:
    store = tmp_path / "store"
    writer = subprocess.Popen([sys.executable, "-c", PUT_FOR_EVER, store.as_uri()], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    incoming = store / "incoming"
    wait_for(lambda: (store / "objects/blobs").is_dir() and len(list((store / "objects/blobs").iterdir())) > 3)
    wait_for(lambda: any(file.stat().st_size for file in incoming.iterdir()))
    writer.kill()
    writer.wait()
    objects = LocalObjectStore(store)
    found = list(objects.list("blobs/"))
    assert len(found) > 3
    for info in found:
        number = int(info.key.removeprefix("blobs/"))
        assert objects.get(info.key) == b"%d" % (number % 10) * 3_000_000
    assert list(incoming.iterdir()) == []


class Forgetful(BaseHTTPRequestHandler):
    """Hands everything on to the real MinIO, but for the headers that make a write conditional."""

    target = ""
    dropped: tuple[str, ...] = REFUSED
    protocol_version = "HTTP/1.1"

    def hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name not in self.dropped}
        connection = http.client.HTTPConnection(self.target, timeout=20)
        connection.request(self.command, self.path, body=body, headers=headers)
        reply = connection.getresponse()
        data = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", reply.getheader("Content-Length") or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = hand_on  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


@contextmanager
def through_a_proxy(minio_server: Any, dropped: tuple[str, ...]) -> Iterator[str]:
    """The URL of a fresh bucket behind a proxy that drops these headers."""
    handler = type("Handler", (Forgetful,), {"target": minio_server.address, "dropped": dropped})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield new_bucket(minio_server).replace(minio_server.address, f"127.0.0.1:{proxy.server_port}")
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_a_store_that_honours_conditional_writes_is_accepted_through_the_same_proxy(minio_server: Any) -> None:
    with through_a_proxy(minio_server, ()) as url:
        open_object_store(url).check()


@pytest.mark.parametrize("dropped", [REFUSED, REFUSED[:1], REFUSED[1:]], ids=["both", "If-None-Match", "If-Match"])
def test_a_store_that_ignores_conditional_writes_is_refused(minio_server: Any, dropped: tuple[str, ...]) -> None:
    with through_a_proxy(minio_server, dropped) as url:
        objects = open_object_store(url)
        with pytest.raises(FailedPrecondition) as caught:
            objects.check()
        assert caught.value.reason == "STORE_IGNORES_CONDITIONAL_WRITES"
        assert "If-None-Match" in caught.value.message
        assert list(objects.list("")) == []


def start_server(store: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assay.server"],
        env={**os.environ, "ASSAY_STORE": store, "ASSAY_LISTEN": "127.0.0.1:0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_server_does_not_start_on_a_store_it_cannot_use(minio_server: Any, tmp_path: Path) -> None:
    with through_a_proxy(minio_server, REFUSED) as url:
        run = start_server(url)
    assert run.returncode != 0
    assert "ignores conditional writes" in run.stderr
    run = start_server(new_bucket(minio_server), ASSAY_S3_SECRET_KEY="not the secret")
    assert run.returncode != 0
    assert "ASSAY_S3_SECRET_KEY" in run.stderr
    run = start_server(f"s3://no-such-bucket?endpoint={minio_server.endpoint}")
    assert run.returncode != 0
    assert "bucket" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_store_that_was_away_at_the_start_has_to_show_that_it_honours_conditions(minio_server: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from probe.service import FULL_NAME

    def health(address: str) -> int:
        with grpc.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return int(stub.Check(health_pb2.HealthCheckRequest(service=FULL_NAME)).status)

    with through_a_proxy(minio_server, REFUSED) as url, serving_in_thread(url) as address:
        assert health(address) == 2
    with through_a_proxy(minio_server, ()) as url, serving_in_thread(url) as address:
        assert health(address) == 1


def test_wrong_keys_are_told_from_a_store_that_is_away(minio_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_bucket(minio_server)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", "not the secret")
    with pytest.raises(Unauthenticated):
        open_object_store(url).check()
    with pytest.raises(Unavailable):
        open_object_store("s3://bucket?endpoint=http://127.0.0.1:9").check()
