"""`assay serve --engine ray`: fronts and a Ray of their own, up with one command and gone with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from probe.serving import wait_until

from assay.server.service import installed_services

pytestmark = pytest.mark.ray


def marked(mark: str) -> list[int]:
    """Pids of whatever came from the command: the environment is inherited."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_one_command_serves_on_ray_and_leaves_nothing_behind(ray_cluster, tmp_path, how) -> None:
    """Beside another cluster on the same machine: neither gets the other's calls, which its token would refuse."""
    if not installed_services():
        pytest.skip("needs a service: pip install assay-moe-router[engine]")
    service = next(iter(installed_services().values()))
    mark = uuid.uuid4().hex
    environment = {**os.environ, "ASSAY_STORE": f"file://{tmp_path}/store", "ASSAY_DRAIN_S": "0", "MARK": mark}
    command = [sys.executable, "-m", "assay.cli.main", "serve", "--engine", "ray", "--listen", "127.0.0.1:0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, service.name], env=environment, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        up = re.search(r"127\.0\.0\.1:\d+", line)
        assert up, f"{line}{(tmp_path / 'log').read_text()[-3000:]}"
        with grpc.insecure_channel(up.group()) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("live", "", service.full_name):  # the last: store and engine answer
                assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
        assert len(marked(mark)) > 5
        process.send_signal(how)
        wait_until(lambda: not marked(mark), 60)
        assert process.wait() == (0 if how is signal.SIGTERM else -how)
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        process.wait()
