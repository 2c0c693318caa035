"""Long work as callers see it: started once, watched, waited for, listed, cancelled, deleted."""

from __future__ import annotations

import asyncio
import time
import uuid
from itertools import chain
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2
from google.protobuf.wrappers_pb2 import StringValue
from probe.operations import (
    TOTAL_STEPS,
    cancel,
    computed,
    delete,
    digest_of,
    expected_digest,
    get,
    metadata_of,
    operations,
    start,
    wait,
    watch,
)
from probe.service import FULL_NAME
from probe.serving import serving

from assay.artifacts.objects import open_object_store
from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.client.errors import error_from_rpc
from assay.errors import (
    AlreadyExists,
    AssayError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from assay.operations.records import OperationRecords, StepRecord, operation_id
from assay.status import from_status

ALICE, BOB, ROOT = (f"spiffe://assay.test/{name}" for name in ("alice", "bob", "root"))


def as_caller(uri: str) -> dict[str, object]:
    return {"metadata": (("x-forwarded-client-cert", f"URI={uri}"),)}


async def failure(call) -> AssayError:  # type: ignore[no-untyped-def]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value)


async def test_the_same_request_id_is_the_same_operation_and_is_computed_once(store: str, ledger: Path) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        request_id = str(uuid.uuid4())
        names = {(await start(channel, "Digest", "0.02", request_id)).name for _ in range(8)}
        at_once = await asyncio.gather(*(start(channel, "Digest", "0.02", request_id) for _ in range(16)))
        assert names == {operation.name for operation in at_once}
        finished = await wait(channel, at_once[0])
        assert digest_of(finished) == expected_digest()
        # Also after its end.
        again = await start(channel, "Digest", "0.02", request_id)
        assert (await get(channel, again)).SerializeToString(deterministic=True) == finished.SerializeToString(
            deterministic=True
        )
    shards = computed(ledger)
    assert len(shards) == len(set(shards)) == TOTAL_STEPS


async def test_a_request_id_with_another_request_already_exists(store: str) -> None:
    async with (
        serving(store, transport="mesh") as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        request_id = str(uuid.uuid4())
        first = await start(channel, "Digest", "0", request_id, **as_caller(ALICE))
        error = await failure(start(channel, "Digest", "0.1", request_id, **as_caller(ALICE)))
        assert isinstance(error, AlreadyExists)
        assert error.reason == "REQUEST_ID_REUSED"
        assert error.metadata["operation"] == first.name
        # Another caller, and another method, have ids of their own.
        other = await start(channel, "Digest", "0.1", request_id, **as_caller(BOB))
        failing = await start(channel, "FailLater", "0.1", request_id, **as_caller(ALICE))
        assert len({first.name, other.name, failing.name}) == 3
        for operation in (first, other):
            assert digest_of(await wait(channel, operation, **as_caller(ROOT))) == expected_digest()


@pytest.mark.parametrize("request_id", ["no-uuid", "1", "../../etc", "x" * 100_000])
async def test_a_request_id_that_is_no_uuid_is_refused(store: str, request_id: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        error = await failure(start(channel, "Digest", "0", request_id))
        assert isinstance(error, InvalidInput)
        assert error.violations[0].field == "request_id"
    assert list(open_object_store(store).list("operations/")) == []


async def test_a_watch_tells_progress_that_only_grows_and_ends_with_the_result(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0.6")
        events = [event.operation async for event in watch(channel, operation)]
        # Who comes late gets the end at once.
        assert [event.operation.done async for event in watch(channel, operation)] == [True]
    assert [event.done for event in events] == [False] * (len(events) - 1) + [True]
    assert digest_of(events[-1]) == expected_digest()
    assert len(events) >= 10  # 1.8 s of work, told about every 0.1 s
    seen = [metadata_of(event) for event in events]
    steps_done = [metadata.progress.steps_done for metadata in seen]
    assert steps_done == sorted(steps_done)
    assert steps_done[-1] == TOTAL_STEPS
    totals = [metadata.progress.steps_total for metadata in seen]
    assert totals == sorted(totals)
    working = [metadata.progress for metadata in seen if metadata.progress.stage.startswith("shard/")]
    assert {progress.unit for progress in working} >= {"rounds"}
    for stage in {progress.stage for progress in working}:
        done = [progress.done for progress in working if progress.stage == stage]
        assert done == sorted(done)
    halfway = [progress for progress in working if 5 <= progress.done < 20]
    assert halfway
    for progress in halfway:
        assert progress.total == 20
        # 20 rounds in 0.6 s are 33 a second, less what a loaded machine takes away.
        assert 3 < progress.rate_per_s < 40
        assert progress.eta_s == pytest.approx((20 - progress.done) / progress.rate_per_s)
        assert progress.figures["share"] == pytest.approx(progress.done / 20)
    last = seen[-1]
    assert last.method == f"/{FULL_NAME}/Digest"
    assert last.caller == "anonymous"
    assert 1.0 < last.end_time.ToNanoseconds() / 1e9 - last.create_time.ToNanoseconds() / 1e9 < 30


async def test_a_wait_ends_with_its_timeout_or_with_the_operation(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0.5")
        for seconds in (0.0, 0.3):
            begun = time.monotonic()
            assert not (await wait(channel, operation, seconds)).done
            assert seconds <= time.monotonic() - begun < seconds + 1.0
        assert (await wait(channel, operation, 60)).done
        assert (await wait(channel, operation, 0.0)).done
        assert (await wait(channel, operation)).done


async def test_an_operation_that_fails_tells_why(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        finished = await wait(channel, await start(channel, "FailLater", "invalid"))
        error = from_status(finished.error)
        assert isinstance(error, InvalidInput)
        assert error.violations[0].field == "layers[3].tokens"
        finished = await wait(channel, await start(channel, "FailLater", "boom"))
        assert from_status(finished.error).reason == "UNEXPECTED"
        assert "secret" not in str(finished)


async def test_lists_come_in_pages_and_by_state(store: str, tmp_path: Path) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        done = {(await start(channel, "FailLater", "invalid")).name for _ in range(5)}
        for name in done:
            await wait(channel, operations_pb2.Operation(name=name))
        spinning = {(await start(channel, "Spin", str(tmp_path / f"spin{n}"))).name for n in range(2)}
        stub = operations(channel)

        async def listed(**request: object) -> list[list[str]]:
            pages, token = [], ""
            while True:
                answer = await stub.ListOperations(operations_pb2.ListOperationsRequest(page_token=token, **request))
                pages.append([operation.name for operation in answer.operations])
                if not (token := answer.next_page_token):
                    return pages

        for state, expected in (("", done | spinning), ("open", spinning), ("done", done)):
            assert {*chain(*await listed(filter=state))} == expected
        pages = await listed(page_size=3)
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [*chain(*pages)] == sorted(done | spinning)
        assert [len(page) for page in await listed(page_size=2, filter="done")] in ([2, 2, 1], [2, 2, 1, 0])
        for field, value in (("filter", "state=done"), ("page_size", -1)):
            error = await failure(stub.ListOperations(operations_pb2.ListOperationsRequest(**{field: value})))
            assert isinstance(error, InvalidInput)
            assert error.violations[0].field == field
        for name in spinning:
            await cancel(channel, operations_pb2.Operation(name=name))


async def test_only_the_creator_or_an_administrator_ends_an_operation(store: str, tmp_path: Path) -> None:
    async with (
        serving(store, transport="mesh", administrators=frozenset({ROOT})) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        for who in (ALICE, ROOT):
            file = tmp_path / who.rpartition("/")[2]
            operation = await start(channel, "Spin", str(file), **as_caller(ALICE))
            for end in (cancel, delete):
                assert isinstance(await failure(end(channel, operation, **as_caller(BOB))), PermissionDenied)
            # Everyone admitted may look.
            assert metadata_of(await get(channel, operation, **as_caller(BOB))).caller == ALICE
            await cancel(channel, operation, **as_caller(who))
            finished = await wait(channel, operation, **as_caller(BOB))
            assert from_status(finished.error).code == "CANCELLED"
            assert metadata_of(finished).cancel_requested
            assert isinstance(await failure(delete(channel, operation, **as_caller(BOB))), PermissionDenied)
            await delete(channel, operation, **as_caller(who))


async def test_a_deleted_operation_is_gone_and_may_be_started_again(store: str, tmp_path: Path, ledger: Path) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        spinning = await start(channel, "Spin", str(tmp_path / "spin"))
        error = await failure(delete(channel, spinning))
        assert isinstance(error, FailedPrecondition)
        await cancel(channel, spinning)
        request_id = str(uuid.uuid4())
        operation = await start(channel, "Digest", "0", request_id)
        await wait(channel, operation)
        await delete(channel, operation)
        for look in (get, cancel, delete, wait):
            assert isinstance(await failure(look(channel, operation)), NotFound)
        assert list(open_object_store(store).list(operation.name)) == []
        again = await start(channel, "Digest", "0.01", request_id)  # even with another body
        assert again.name == operation.name
        assert digest_of(await wait(channel, again)) == expected_digest()
    assert len(computed(ledger)) == 2 * TOTAL_STEPS


async def test_a_cancel_after_the_end_changes_nothing(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "0")
        finished = await wait(channel, operation)
        await cancel(channel, operation)
        assert await get(channel, operation) == finished
        assert not metadata_of(finished).cancel_requested


@pytest.mark.parametrize("name", ["", "operations/", "operations/xyz", "operations/../labels", f"{'0' * 32}"])
async def test_a_name_that_is_none_is_refused(store: str, name: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = operations_pb2.Operation(name=name)
        for look in (get, cancel, delete, wait):
            error = await failure(look(channel, operation))
            assert isinstance(error, InvalidInput)
            assert error.violations[0].field == "name"
        assert isinstance(await failure(anext(aiter(watch(channel, operation)))), InvalidInput)


async def test_an_unknown_operation_is_not_found(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = operations_pb2.Operation(name=f"operations/{'0' * 32}")
        for look in (get, cancel, delete, wait):
            assert isinstance(await failure(look(channel, operation)), NotFound)
        assert isinstance(await failure(anext(aiter(watch(channel, operation)))), NotFound)


async def test_what_has_no_room_waits_and_can_be_cancelled_meanwhile(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.operations.runner.MAX_RUNNING", 2)
    monkeypatch.setattr("assay.operations.runner.MAX_OPEN", 4)
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = [await start(channel, "Spin", str(tmp_path / f"spin{n}")) for n in range(2)]
        waiting = [await start(channel, "Digest", "0"), await start(channel, "Spin", str(tmp_path / "never"))]
        error = await failure(start(channel, "Digest", "0"))
        assert isinstance(error, ResourceExhausted)
        assert error.retry_after_s
        assert not (await wait(channel, waiting[0], 0.5)).done
        # No slot is needed to end what never began.
        await cancel(channel, waiting[1])
        begun = time.monotonic()
        assert from_status((await wait(channel, waiting[1])).error).code == "CANCELLED"
        assert time.monotonic() - begun < 2
        assert not (tmp_path / "never").exists()
        for operation in running:
            await cancel(channel, operation)
        assert digest_of(await wait(channel, waiting[0])) == expected_digest()


async def test_a_damaged_operation_stops_no_other(store: str) -> None:
    records = OperationRecords(open_object_store(store))
    damaged, deleted = "0" * 32, "1" * 32
    records.objects.put_if_absent(f"operations/{damaged}/specification", b"no record")
    for operation in (damaged, deleted):
        records.objects.put_if_absent(f"open-operations/probe/{operation}", b"open")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        operation = await start(channel, "Digest", "5")
    # Taken up by the next front although the two come first.
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        async for event in watch(channel, operation):
            if metadata_of(event.operation).progress.done > 2:
                break
        await cancel(channel, operation)
        await wait(channel, operation)
    # The mark of the deleted one is gone; the damaged one is there for whoever looks after it.
    assert list(records.open_ids("probe")) == [damaged]


async def test_a_step_committed_by_another_build_fails_the_operation(store: str) -> None:
    records = OperationRecords(open_object_store(store))
    request_id = str(uuid.uuid4())
    operation = operation_id("anonymous", f"/{FULL_NAME}/Digest", request_id)
    reply = operations_pb2.Operation().response
    reply.Pack(StringValue(value="from another time"))
    records.commit_step(operation, "shard/3", StepRecord("0" * 64, reply))
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        finished = await wait(channel, await start(channel, "Digest", "0", request_id))
        error = from_status(finished.error)
        assert isinstance(error, FailedPrecondition)
        assert error.reason == "BUILD_CHANGED"


async def test_an_examination_is_an_operation_like_any_other(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = checkup_pb2_grpc.CheckupServiceStub(channel)

        def request(**changed: str) -> checkup_pb2.ExamineRequest:
            given = {"request_id": str(uuid.uuid4()), "service": "probe", "model": "m", "text": "t"}
            return checkup_pb2.ExamineRequest(**{**given, **changed})

        finished = await wait(channel, (await stub.Examine(request())).operation)
        result = checkup_pb2.ExamineResult()
        assert finished.response.Unpack(result)
        assert result.section == "m"
        for field, value in (("service", "another"), ("model", ""), ("text", ""), ("request_id", "")):
            error = await failure(stub.Examine(request(**{field: value})))
            assert isinstance(error, InvalidInput)
            assert error.violations[0].field == field
