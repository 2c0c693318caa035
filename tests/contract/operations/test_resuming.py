"""Operations outlive their fronts and their store: killed at random points, resumed by two at once, elsewhere."""

from __future__ import annotations

import asyncio
import random
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2
from probe.operations import (
    TOTAL_STEPS,
    cancel,
    computed,
    digest_of,
    expected_digest,
    get,
    metadata_of,
    start,
    wait,
    watch,
)
from probe.service import SHARDS
from probe.serving import FrontProcess, serving, wait_until

from assay.artifacts.objects import open_object_store
from assay.client.connection import Connection
from assay.status import from_status

SEED = 20_260_101
SECONDS_A_SHARD = 0.35
SHORT_LEASE = {"ASSAY_PROBE_LEASE_S": "1.5"}

Kill = tuple[int, float]
"""How many more steps are committed when a front is killed, and how many seconds later."""


def response_of(operation: operations_pb2.Operation) -> bytes:
    """The bytes that must be the same whatever happened on the way."""
    assert operation.WhichOneof("result") == "response", operation.error
    return operation.response.SerializeToString(deterministic=True)


def committed_steps(store: str, operation: operations_pb2.Operation) -> set[str]:
    """The shards whose replies are stored, by the names that the ledger gives them."""
    prefix = f"{operation.name}/steps/"
    names = {info.key.removeprefix(prefix) for info in open_object_store(store).list(prefix)}
    return {name.removeprefix("shard.") for name in names if name.startswith("shard.")}


def undisturbed(folder: Path) -> bytes:
    """The response of a run that nobody kills."""
    front = FrontProcess((folder / "store").as_uri())
    with grpc.insecure_channel(front.start()) as channel:
        finished = wait(channel, start(channel, "Digest", str(SECONDS_A_SHARD)), 120)
    front.stop()
    return response_of(finished)


def kill_and_resume(folder: Path, kills: list[Kill]) -> tuple[bytes, int]:
    """Begins an operation, kills its front, and the front after it, and so on; the last one finishes it.

    Returns the operation's response, and the number of steps that were committed at the first kill.
    """
    folder.mkdir()
    store, ledger = (folder / "store").as_uri(), folder / "ledger"
    ledger.touch()
    environment = {"ASSAY_PROBE_LEDGER": str(ledger), **SHORT_LEASE}
    front = FrontProcess(store, environment)
    with grpc.insecure_channel(front.start()) as channel:
        operation = start(channel, "Digest", str(SECONDS_A_SHARD))
    committed, noted, survived = set[str](), 0, list[int]()

    def computed_again() -> set[str]:
        """What this front computed although it was committed before."""
        return committed & set(computed(ledger)[noted:])

    for more, pause_s in kills:
        goal = min(SHARDS, len(committed) + more)
        wait_until(lambda goal=goal: len(committed_steps(store, operation)) >= goal, 120)
        time.sleep(pause_s)
        front.kill()
        assert not computed_again()
        committed, noted = committed_steps(store, operation), len(computed(ledger))
        survived.append(len(committed))
        front = FrontProcess(store, environment)
        front.start()
    with grpc.insecure_channel(front.address) as channel:
        finished = Connection(channel).wait(operation)
    front.stop()
    assert not computed_again()
    return response_of(finished), survived[0]


def trials(folder: Path, count: int, kills: int) -> list[tuple[bytes, int]]:
    """Four at a time, after every number of steps about as often. The seed fixes the plans, not the machine's pace."""
    moments = random.Random(SEED)
    steps = moments.sample(range(SHARDS), SHARDS)
    plans = [
        [(steps[(trial + kill) % SHARDS], moments.uniform(0.0, SECONDS_A_SHARD)) for kill in range(kills)]
        for trial in range(count)
    ]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda n: kill_and_resume(folder / str(n), plans[n]), range(count)))


def check(folder: Path, count: int) -> None:
    reference = undisturbed(folder)
    found = trials(folder, count, kills=1)
    assert {response for response, _ in found} == {reference}
    # Kills that all came before the first commit, or after the last, would prove nothing.
    assert any(0 < survived < SHARDS for _, survived in found)


def test_a_front_killed_at_3_random_points_changes_nothing_of_the_result(tmp_path: Path) -> None:
    check(tmp_path, 3)


@pytest.mark.slow
def test_a_front_killed_at_20_random_points_changes_nothing_of_the_result(tmp_path: Path) -> None:
    check(tmp_path, 20)


@pytest.mark.slow
def test_three_fronts_killed_one_after_the_other_change_nothing_of_the_result(tmp_path: Path) -> None:
    reference = undisturbed(tmp_path)
    assert {response for response, _ in trials(tmp_path, 4, kills=3)} == {reference}


def test_two_fronts_that_resume_one_operation_at_once_give_one_result(tmp_path: Path) -> None:
    store, ledger = (tmp_path / "store").as_uri(), tmp_path / "ledger"
    ledger.touch()
    environment = {"ASSAY_PROBE_LEDGER": str(ledger), **SHORT_LEASE}
    first = FrontProcess(store, environment)
    with grpc.insecure_channel(first.start()) as channel:
        operation = start(channel, "Digest", str(SECONDS_A_SHARD))
        wait_until(lambda: len(committed_steps(store, operation)) >= 2)
    first.kill()
    fronts = [FrontProcess(store, environment) for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as pool:
            addresses = list(pool.map(FrontProcess.start, fronts))

            def finish(address: str) -> operations_pb2.Operation:
                with grpc.insecure_channel(address) as channel:
                    return Connection(channel).wait(operation)

            one, other = pool.map(finish, addresses)
    finally:
        for front in fronts:
            front.kill()
    assert one == other
    assert digest_of(one) == expected_digest()
    assert metadata_of(one).progress.steps_done == TOTAL_STEPS
    # The lease saved the second front the work: no shard but those in flight at the kill was computed twice.
    assert len(computed(ledger)) <= TOTAL_STEPS + 2


async def test_two_fronts_that_both_work_on_one_operation_give_one_result(
    store: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lease that is over as soon as it is written keeps nobody away: what is left are the commits.
    monkeypatch.setattr("assay.operations.lease.LEASE_S", -1.0)
    monkeypatch.setattr("assay.operations.lease.RENEW_S", 60.0)
    async with (
        serving(store) as one,
        serving(store) as other,
        grpc.aio.insecure_channel(one.address) as channel,
        grpc.aio.insecure_channel(other.address) as other_channel,
    ):
        request_id = str(uuid.uuid4())
        operation = await start(channel, "Digest", "1.2", request_id)
        assert await start(other_channel, "Digest", "1.2", request_id) == operation
        seen = await asyncio.gather(wait(channel, operation), wait(other_channel, operation))
        assert digest_of(seen[0]) == expected_digest()
        assert seen[0] == seen[1]
        await asyncio.sleep(0.5)
        assert await get(other_channel, operation) == seen[0]
    assert len(computed(ledger)) > TOTAL_STEPS  # both did work


def test_a_resume_on_another_number_of_threads_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the number of threads is torch's")
    store = (tmp_path / "store").as_uri()
    with_torch = {"ASSAY_PROBE_TORCH": "1", **SHORT_LEASE}
    front = FrontProcess(store, {"OMP_NUM_THREADS": "1", **with_torch})
    with grpc.insecure_channel(front.start()) as channel:
        operation = start(channel, "Digest", "1")
        assert metadata_of(get(channel, operation)).environment_change == ""
    front.kill()
    front = FrontProcess(store, {"OMP_NUM_THREADS": "2", **with_torch})
    with grpc.insecure_channel(front.start()) as channel:
        finished = Connection(channel).wait(operation)
    front.stop()
    assert metadata_of(finished).environment_change == "threads 1 -> 2"
    assert digest_of(finished) == expected_digest()


async def test_an_operation_outlives_its_store(minio_server, monkeypatch: pytest.MonkeyPatch, ledger: Path) -> None:
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", minio_server.access_key)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", minio_server.secret_key)
    store = minio_server.make_bucket(f"resume-{uuid.uuid4().hex[:8]}")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0.6")
        async for event in watch(channel, operation):
            if metadata_of(event.operation).progress.steps_done >= 2:
                break
        await asyncio.to_thread(minio_server.kill)
        await asyncio.sleep(1.5)  # shards end meanwhile, and cannot be committed
        # Whoever watches is told without the store.
        seen = metadata_of(await get(channel, operation))
        assert 2 <= seen.progress.steps_done < TOTAL_STEPS
        await asyncio.to_thread(minio_server.restart)
        finished = await wait(channel, operation, 60)
        assert digest_of(finished) == expected_digest()
    # What was computed while the store was away was kept until it came back.
    assert len(computed(ledger)) == TOTAL_STEPS


async def test_a_resumed_operation_does_not_seem_to_go_back(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0.5")
        async for event in watch(channel, operation):
            if (before := metadata_of(event.operation).progress.steps_done) >= 4:
                break
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        seen = [metadata_of(event.operation).progress.steps_done async for event in watch(channel, operation)]
    assert before <= seen[0]
    assert seen == sorted(seen)
    assert seen[-1] == TOTAL_STEPS


async def test_a_paused_front_that_wakes_up_gives_way(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.operations.lease.RENEW_S", 0.5)
    file = tmp_path / "spin"
    paused = FrontProcess(store, SHORT_LEASE)
    address = await asyncio.to_thread(paused.start)
    async with grpc.aio.insecure_channel(address) as channel:
        operation = await start(channel, "Spin", str(file))
        await asyncio.to_thread(wait_until, lambda: written(file) > 0)
    paused.process.send_signal(signal.SIGSTOP)
    try:
        async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
            before = written(file)
            await asyncio.to_thread(wait_until, lambda: written(file) > before)
            paused.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(1.5)  # it tries to renew, finds its lease taken, and stops working
            await cancel(channel, operation)
            assert from_status((await wait(channel, operation)).error).code == "CANCELLED"
            await asyncio.sleep(0.2)
            after = written(file)
            await asyncio.sleep(1.0)
            assert written(file) == after
    finally:
        paused.process.send_signal(signal.SIGCONT)
        paused.kill()


def written(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
