"""Operations whose engine dies under them: a replica, or the whole of Ray; and what callers see meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import uuid
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from probe import steps
from probe.service import FULL_NAME, SHARDS
from probe.serving import method, serving

from assay.client.errors import error_from_rpc
from assay.engine.engine import StepCall
from assay.errors import Unavailable

pytestmark = pytest.mark.ray

SERVING, NOT_SERVING = 1, 2
SECONDS_A_SHARD = 0.7


@asynccontextmanager
async def fronted(ray_cluster, store):
    """A channel to a front in this process whose engine is the probe on Ray."""
    engine = ray_cluster.engine()
    async with serving(store, engine=engine) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield channel


async def expected_result(store: str) -> bytes:
    """What an undisturbed run in this process gives."""
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        # How long a shard takes is no part of what it hashes.
        return await result(channel, await begin(channel, 0.0))


async def begin(channel, seconds: float) -> str:
    start = method(channel, "Digest", reply=operations_pb2.Operation)
    return (await start(StringValue(value=f"{uuid.uuid4()}|{seconds}"), timeout=30)).name


async def result(channel, name: str) -> bytes:
    stub = operations_pb2_grpc.OperationsStub(channel)
    done = await stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name), timeout=120)
    assert done.done
    assert not done.HasField("error"), done.error
    return done.response.SerializeToString(deterministic=True)


KILLS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 21))]


def moment_of(seed: int) -> float:
    """Seconds after the start, from before the first shard to after the last."""
    return random.Random(seed).uniform(0.0, (SHARDS / 2 + 1) * SECONDS_A_SHARD)


@pytest.mark.parametrize("seed", KILLS)
async def test_a_killed_replica_costs_time_and_nothing_else(ray_cluster, store, tmp_path, seed) -> None:
    async with fronted(ray_cluster, store) as channel:
        name = await begin(channel, SECONDS_A_SHARD)
        pid = int((await method(channel, "Where")(StringValue())).value)
        await asyncio.sleep(moment_of(seed))
        os.kill(pid, signal.SIGKILL)
        disturbed = await result(channel, name)
        await _until_another_answers(channel, pid)
    assert disturbed == await expected_result(f"file://{tmp_path}/undisturbed")


async def test_work_that_a_killed_replica_gave_to_ray_ends_with_it(ray_cluster, tmp_path) -> None:
    engine = ray_cluster.engine()
    pid = int((await engine.run(steps.WHERE, StringValue(), StepCall())).value)
    case = StringValue(value=f"works_until_it_is_killed|{tmp_path}")
    asking = asyncio.create_task(engine.run(steps.COMPUTE_CASE, case, StepCall()))
    workers = await _pids_in(tmp_path)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable) as caught:
        await asking
    assert caught.value.retry_after_s
    deadline = time.monotonic() + 10
    while any(_is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "a task outlives the replica that asked for it"
        await asyncio.sleep(0.05)
    await _until_it_answers(engine)
    await engine.close()


@pytest.mark.parametrize("seed", KILLS)
async def test_a_killed_cluster_costs_time_and_nothing_else(ray_cluster, store, tmp_path, seed, monkeypatch) -> None:
    monkeypatch.setattr("assay.server.health.CHECK_INTERVAL_S", 0.2)
    monkeypatch.setattr("assay.operations.patience.RETRY_MOST_S", 1.0)
    async with fronted(ray_cluster, store) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await _until(health, SERVING)
        name = await begin(channel, SECONDS_A_SHARD)
        await asyncio.sleep(moment_of(seed))
        await asyncio.to_thread(ray_cluster.cluster.kill)
        assert ray_cluster.cluster.processes() == []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(channel, "EngineEcho")(StringValue(value="x"), timeout=10)
        error = error_from_rpc(caught.value)
        assert isinstance(error, Unavailable)
        assert error.retry_after_s
        await _until(health, NOT_SERVING)
        for ours in ("", "live"):  # whatever becomes of the engine, this front takes calls
            assert (await health.Check(health_pb2.HealthCheckRequest(service=ours))).status == SERVING
        await asyncio.to_thread(ray_cluster.cluster.start)
        assert await result(channel, name) == await expected_result(f"file://{tmp_path}/undisturbed")
        await _until(health, SERVING)


async def _until(health, status: int) -> None:
    """Waits until the service's own health name says `status`."""
    deadline = time.monotonic() + 60
    while (await health.Check(health_pb2.HealthCheckRequest(service=FULL_NAME))).status != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def _until_it_answers(engine) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            await engine.run(steps.WHERE, StringValue(), StepCall(time.time() + 5))
            return
        except Exception:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def _until_another_answers(channel, pid: int) -> None:
    """A kill after the last shard leaves the operation nothing to wait for; the next replica may be on its way."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            if int((await method(channel, "Where")(StringValue(), timeout=10)).value) != pid:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


async def _pids_in(folder) -> list[int]:
    deadline = time.monotonic() + 30
    while not (found := [int(file.name) for file in folder.iterdir() if file.name.isdigit()]):
        assert time.monotonic() < deadline, "no worker began"
        await asyncio.sleep(0.05)
    return found


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
