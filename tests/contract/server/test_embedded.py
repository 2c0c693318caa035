"""The platform inside a command, and as a program that is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from assay.client.connection import connect
from assay.config import Config
from assay.errors import FailedPrecondition, NotFound
from assay.server.service import installed_services

pytestmark = pytest.mark.skipif(not installed_services(), reason="needs an installed service")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets of embedded platforms lie."""
    for name in [name for name in os.environ if name.startswith("ASSAY_") and name.endswith("ENDPOINT")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short: sockets' names are
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_without_an_endpoint_the_platform_runs_inside_and_leaves_nothing(store: str, temporary: Path) -> None:
    threads = threading.active_count()
    with connect("", config=Config(store=store)) as connection:
        (socket,) = temporary.glob("assay-*/s")
        assert socket.parent.stat().st_mode & 0o077 == 0  # nobody else may connect
        digest = connection.artifacts.put("text", {"a": b"1"})
        with pytest.raises(NotFound):
            connection.artifacts.get("no-such-label")
    assert list(temporary.iterdir()) == []
    with connect("", config=Config(store=store)) as connection:
        assert connection.artifacts.read(digest, "a") == b"1"
    deadline = time.monotonic() + 10
    while threading.active_count() > threads + 2:  # idle threads of grpc and of the store
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.05)


def test_a_store_that_cannot_be_used_ends_the_command_and_leaves_nothing(temporary: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASSAY_S3_ACCESS_KEY", raising=False)
    with (
        pytest.raises(FailedPrecondition, match="ASSAY_S3_ACCESS_KEY"),
        connect("", config=Config(store="s3://bucket?endpoint=http://127.0.0.1:9")),
    ):
        pass
    assert list(temporary.iterdir()) == []


def serve(store: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The program with a long drain, ready; and its address."""
    from conftest import free_port

    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [sys.executable, "-m", "assay.server"],
        env={**os.environ, "ASSAY_STORE": store, "ASSAY_LISTEN": address, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)
    return server, address


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_well(store: str, name: signal.Signals) -> None:
    server, address = serve(store, ASSAY_DRAIN_S="1.5")
    begun = time.monotonic()
    server.send_signal(name)
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status != 2:
            assert time.monotonic() - begun < 1.5
            time.sleep(0.01)
        assert stub.Check(health_pb2.HealthCheckRequest(service="live"), timeout=5).status == 1
    errors = server.communicate(timeout=30)[1]
    assert server.returncode == 0
    assert time.monotonic() - begun >= 1.5
    assert "Traceback" not in errors


def test_a_second_signal_does_not_wait(store: str) -> None:
    server, _ = serve(store, ASSAY_DRAIN_S="60")
    server.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert server.poll() is None
    begun = time.monotonic()
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=30) == -signal.SIGTERM
    assert time.monotonic() - begun < 5
    server.communicate()
