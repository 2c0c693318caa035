"""Stopped work has stopped: measured by the file that the probe's spin step appends to, not by the client's status."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from probe.operations import cancel, get, metadata_of, start, wait
from probe.serving import method, serving

from assay.client.errors import error_from_rpc
from assay.errors import DeadlineExceeded
from assay.status import from_status


def last_turn_unix_s(file: Path) -> float:
    """When the step last wrote; it does every 10 ms while it works."""
    lines = file.read_text().splitlines() if file.exists() else []
    return float(lines[-1]) if lines else 0.0


def workers(folder: Path) -> list[int]:
    """The processes that noted themselves."""
    return [int(file.name) for file in folder.iterdir()]


def alive(pids: list[int]) -> int:
    return sum(Path(f"/proc/{pid}").exists() for pid in pids)


async def spinning(file: Path) -> None:
    """Returns once the step is at work."""
    deadline = time.monotonic() + 60
    while time.time() - last_turn_unix_s(file) > 0.2:
        assert time.monotonic() < deadline, "the work did not begin"
        await asyncio.sleep(0.02)


async def seconds_it_went_on(file: Path, since_unix_s: float) -> float:
    """How long after that moment the step was still at work; waits two seconds to be sure that it is not."""
    await asyncio.sleep(max(0.0, since_unix_s + 2.0 - time.time()))
    last = last_turn_unix_s(file)
    await asyncio.sleep(0.3)
    assert last_turn_unix_s(file) == last, "the work goes on"
    return last - since_unix_s


async def test_a_cancelled_operation_has_stopped_within_a_second(store: str, tmp_path: Path) -> None:
    file = tmp_path / "spin"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Spin", str(file))
        await spinning(file)
        cancelled = time.time()
        await cancel(channel, operation)
        finished = await wait(channel, operation, 1.0)
        assert from_status(finished.error).code == "CANCELLED"
        assert await seconds_it_went_on(file, cancelled) < 1.0


async def test_a_cancelled_operation_has_killed_its_worker_processes_within_a_second(
    store: str, tmp_path: Path
) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Crunch", str(folder))
        deadline = time.monotonic() + 60
        while len(workers(folder)) < 2:
            assert time.monotonic() < deadline, "the workers did not start"
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # deep in native code that keeps the interpreter's lock
        assert alive(workers(folder)) == 2
        await cancel(channel, operation)
        await asyncio.sleep(1.0)
        assert alive(workers(folder)) == 0
        assert from_status((await get(channel, operation)).error).code == "CANCELLED"


async def test_a_cancel_at_another_front_stops_the_work_within_a_second(store: str, tmp_path: Path) -> None:
    file = tmp_path / "spin"
    async with (
        serving(store) as working,
        serving(store) as other,
        grpc.aio.insecure_channel(working.address) as channel,
        grpc.aio.insecure_channel(other.address) as other_channel,
    ):
        operation = await start(channel, "Spin", str(file))
        await spinning(file)
        assert metadata_of(await get(other_channel, operation)).progress.stage in ("", "spin")
        cancelled = time.time()
        await cancel(other_channel, operation)
        assert await seconds_it_went_on(file, cancelled) < 1.0
        for each in (channel, other_channel):
            assert from_status((await get(each, operation)).error).code == "CANCELLED"


async def test_a_call_past_its_deadline_has_stopped_its_step_within_a_second(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "spin"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        deadline = time.time() + 0.8
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(channel, "SpinNow")(StringValue(value=str(file)), timeout=0.8)
        assert isinstance(error_from_rpc(caught.value), DeadlineExceeded)
        assert -0.5 < await seconds_it_went_on(file, deadline) < 1.0  # it had begun, and it stopped
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_caller_that_goes_takes_its_step_along_within_a_second(store: str, tmp_path: Path, leave: str) -> None:
    file = tmp_path / "spin"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = method(channel, "SpinNow")(StringValue(value=str(file)))
        asyncio.ensure_future(call)  # noqa: RUF006
        await spinning(file)
        gone = time.time()
        if leave == "cancel":
            call.cancel()
        else:
            await channel.close()
        assert await seconds_it_went_on(file, gone) < 1.0


async def test_a_stopped_front_leaves_its_operation_to_the_next_one(store: str, tmp_path: Path) -> None:
    file = tmp_path / "spin"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Spin", str(file))
        await spinning(file)
        stopped = time.time()
    assert await seconds_it_went_on(file, stopped) < 1.0
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        begun = time.monotonic()
        assert not (await get(channel, operation)).done
        await spinning(file)
        # The lease was let go: nobody waits ten seconds for it.
        assert time.monotonic() - begun < 5.0
        await cancel(channel, operation)
        assert from_status((await wait(channel, operation)).error).code == "CANCELLED"


async def test_a_cancel_that_no_front_saw_holds_after_the_next_start(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.artifacts.objects import open_object_store
    from assay.operations.records import OperationRecords

    file = tmp_path / "spin"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Spin", str(file))
        await spinning(file)
    turns = last_turn_unix_s(file)
    OperationRecords(open_object_store(store)).request_cancel(operation.name.removeprefix("operations/"), "anonymous")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert from_status((await wait(channel, operation)).error).code == "CANCELLED"
    assert last_turn_unix_s(file) - turns < 0.5
