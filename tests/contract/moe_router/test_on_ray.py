"""moe-router with its engine on a real Ray Serve: the same results, and cancelled work that stops."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probe.service_process import ServiceProcess
from probe.serving import wait_until

from assay.client.connection import Connection, connect
from assay.config import Config
from assay.engine.local_ray import EngineSpec, LocalRay
from assay.engine.serve_wire import TOKEN_VARIABLE
from assay.errors import Cancelled
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import moe_router_pb2_grpc

pytestmark = pytest.mark.ray

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def cluster(trained: Any) -> Iterator[LocalRay]:
    pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    running = LocalRay([EngineSpec("moe_router", "assay_moe_router.engine")], trained.store, cpus=2)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def front(cluster: LocalRay, trained: Any) -> Iterator[ServiceProcess]:
    running = ServiceProcess("moe_router", trained.store, f"serve://{cluster.address}", {TOKEN_VARIABLE: cluster.token})
    yield running
    running.stop()


def calibrate(connection: Connection, trained: Any, sequences: int, batch: int = 8) -> Any:
    request = api.CalibrateRequest(
        request_id=str(uuid.uuid4()),
        model=trained.model,
        text=api.TextSelection(text=trained.text, sequences=sequences, sequence_tokens=64, batch_sequences=batch),
    )
    stub = moe_router_pb2_grpc.MoeRouterServiceStub(connection.channel)
    return connection.call(stub.Calibrate, request).operation


def cpu_seconds(processes: list[int]) -> float:
    """CPU time that the processes have used so far; those that ended count for nothing."""
    total = 0.0
    for pid in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def test_the_engines_place_changes_no_result(front: ServiceProcess, trained: Any) -> None:
    with connect("moe_router", front.address) as connection:
        on_ray = connection.wait(calibrate(connection, trained, 48))
    with connect("moe_router", config=Config(store=trained.store)) as connection:
        in_process = connection.wait(calibrate(connection, trained, 48))
    assert on_ray.response.value == in_process.response.value


def test_a_calibration_cancelled_on_ray_stops_working_within_a_second(
    front: ServiceProcess, cluster: LocalRay, trained: Any
) -> None:
    workers = list(cluster.processes())
    with connect("moe_router", front.address) as connection:
        idle = _used(workers, 1.5)
        # One sequence at a time, which takes the better part of a minute undisturbed.
        operation = calibrate(connection, trained, 4096, batch=1)
        begun = cpu_seconds(workers)
        wait_until(lambda: cpu_seconds(workers) - begun > 2.0)
        busy = _used(workers, 1.5)
        connection.cancel(operation)
        time.sleep(1.0)
        stopped = _used(workers, 1.5)
        # Ray's own processes are never quite idle; the work is what comes on top.
        assert busy - idle > 0.5
        assert stopped - idle < 0.25 * (busy - idle)
        with pytest.raises(Cancelled):
            connection.result(connection.wait(operation), api.CalibrateResult)


def _used(processes: list[int], seconds: float) -> float:
    before = cpu_seconds(processes)
    time.sleep(seconds)
    return cpu_seconds(processes) - before
