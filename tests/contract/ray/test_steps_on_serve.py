"""Steps through a front whose engine is a Ray Serve application: replies, errors, stopping, isolation, traces."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import uuid
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import any_pb2
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue
from google.rpc import code_pb2
from probe import steps
from probe.serving import method, serving

from assay.client.errors import error_from_rpc
from assay.engine.engine import StepCall, StepProgress
from assay.engine.on_serve import ServeEngine
from assay.engine.serve_wire import HEARTBEAT_S, TOKEN_HEADER
from assay.engine.v1 import engine_pb2, engine_pb2_grpc
from assay.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidInput,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

pytestmark = pytest.mark.ray

STOPS_WITHIN_S = 1.0
STEPS_PER_REPLICA = 4
NOT_FOR_CALLERS = re.compile(r"Traceback|File \"|/\w+/\w+|127\.0\.0\.1|localhost|\bpid\b|RuntimeError|[rR]ay|secret")


@asynccontextmanager
async def fronted(ray_cluster, store, application="probe", **settings):
    """A channel to a front in this process whose engine is `application`."""
    engine = ray_cluster.engine(application)
    async with (
        serving(store, engine=engine, **settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield channel


@asynccontextmanager
async def engine_of(ray_cluster, application="probe"):
    engine = ray_cluster.engine(application)
    try:
        yield engine
    finally:
        await engine.close()


async def raised(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value), caught.value


async def replica_of(channel) -> int:
    return int((await method(channel, "Where")(StringValue())).value)


async def drained(events) -> None:
    async for _ in events:
        pass


async def grows(file: Path) -> None:
    """Waits until a spinning step has written to `file`."""
    deadline = time.monotonic() + 20
    while not size_of(file):
        assert time.monotonic() < deadline, "the step never began"
        await asyncio.sleep(0.02)


async def stopped_after(file: Path, asked_unix_s: float) -> float:
    """Seconds from `asked_unix_s` to the last thing the step wrote."""
    await asyncio.sleep(max(0.0, asked_unix_s - time.time()) + 2 * STOPS_WITHIN_S)
    size = size_of(file)
    await asyncio.sleep(0.3)
    assert size_of(file) == size, "the step goes on"
    return last_stamp(file) - asked_unix_s


def size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def last_stamp(file: Path) -> float:
    return float(file.read_text().splitlines()[-1])


async def test_a_step_runs_in_a_process_of_the_cluster_with_its_store(ray_cluster, store) -> None:
    async with fronted(ray_cluster, store) as channel:
        assert await replica_of(channel) in set(ray_cluster.cluster.processes()) - {os.getpid()}
        assert (await method(channel, "EngineEcho")(StringValue(value="x" * 1000))).value == "x" * 1000
    folder = Path(ray_cluster.store.removeprefix("file://")) / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "note").write_text("kept here")
    async with engine_of(ray_cluster) as engine:
        assert (await engine.run(steps.READ_OBJECT, StringValue(value="note"), StepCall())).value == "kept here"


async def test_streamed_replies_arrive_whole_and_in_order(ray_cluster) -> None:
    async with engine_of(ray_cluster) as engine:
        replies = [event.value async for event in engine.stream(steps.COUNT_UP, Int64Value(value=500), StepCall())]
    assert replies == list(range(500))


async def test_progress_comes_before_the_reply(ray_cluster) -> None:
    async with engine_of(ray_cluster) as engine:
        events = [e async for e in engine.stream(steps.DIGEST_SHARD, StringValue(value="0:0.5"), StepCall())]
    assert isinstance(events[-1], StringValue)
    told = [event.done for event in events[:-1] if isinstance(event, StepProgress)]
    assert told[-1] == 20
    assert len(told) >= 3
    assert told == sorted(told)


async def test_errors_keep_their_fields_and_nothing_else_gets_out(ray_cluster, store) -> None:
    async with fronted(ray_cluster, store) as channel:
        invalid, _ = await raised(method(channel, "Fail")(StringValue(value="invalid")))
        assert isinstance(invalid, InvalidInput)
        assert invalid.violations[0].field == "layers[3].tokens"
        damaged, _ = await raised(method(channel, "Fail")(StringValue(value="data-loss")))
        assert isinstance(damaged, DataLoss)
        unexpected, raw = await raised(method(channel, "Fail")(StringValue(value="/etc/shadow")))
        assert isinstance(unexpected, Internal)
        assert unexpected.metadata["error_id"]
        said = f"{raw.details()} {raw.trailing_metadata()!r}"
        assert not NOT_FOR_CALLERS.search(said), said


async def test_an_operation_fails_with_what_its_step_raised(ray_cluster, store) -> None:
    async with fronted(ray_cluster, store) as channel:
        begun = await _begin(channel, "FailLater", "invalid")
        done = await operations_pb2_grpc.OperationsStub(channel).WaitOperation(
            operations_pb2.WaitOperationRequest(name=begun.name), timeout=30
        )
    assert done.error.code == code_pb2.INVALID_ARGUMENT
    assert "layers[3].tokens" in done.error.message


async def test_the_wire_to_serve_carries_no_traceback_either(ray_cluster) -> None:
    async with _raw(ray_cluster) as (stub, metadata):
        asked = engine_pb2.RunStepRequest(
            call=engine_pb2.StepCall(step="fail"), request=_packed(StringValue(value="x"))
        )
        answer = await stub.RunStep(asked, metadata=metadata)
    assert answer.status.code == code_pb2.INTERNAL
    assert not NOT_FOR_CALLERS.search(str(answer)), answer


async def test_a_step_the_engine_does_not_know_names_the_remedy(ray_cluster) -> None:
    from assay.engine.step import Step

    async with engine_of(ray_cluster) as engine:
        with pytest.raises(Unimplemented, match="upgrade the engine"):
            await engine.run(Step("from_the_future", StringValue, StringValue), StringValue(), StepCall())


async def test_a_deadline_stops_the_work(ray_cluster, store, tmp_path) -> None:
    unary, streamed = tmp_path / "unary", tmp_path / "streamed"
    async with fronted(ray_cluster, store) as channel, engine_of(ray_cluster) as engine:
        deadline_unix_s = time.time() + 1.5
        error, streaming = await asyncio.gather(
            raised(method(channel, "SpinNow")(StringValue(value=str(unary)), timeout=1.5)),
            drained(engine.stream(steps.SPIN, StringValue(value=str(streamed)), StepCall(deadline_unix_s))),
            return_exceptions=True,
        )
        assert isinstance(error, tuple)
        assert isinstance(error[0], DeadlineExceeded)
        assert isinstance(streaming, DeadlineExceeded)
        for file in (unary, streamed):
            assert -0.5 < await stopped_after(file, deadline_unix_s) < STOPS_WITHIN_S


async def test_a_caller_that_cancels_stops_the_work(ray_cluster, store, tmp_path) -> None:
    file = tmp_path / "spin"
    async with fronted(ray_cluster, store) as channel:
        call = method(channel, "SpinNow")(StringValue(value=str(file)), timeout=60)
        await grows(file)
        asked = time.time()
        call.cancel()
        assert await stopped_after(file, asked) < STOPS_WITHIN_S


async def test_a_cancelled_operation_stops_the_work(ray_cluster, store, tmp_path) -> None:
    file = tmp_path / "spin"
    async with fronted(ray_cluster, store) as channel:
        operations = operations_pb2_grpc.OperationsStub(channel)
        begun = await _begin(channel, "Spin", str(file))
        await grows(file)
        asked = time.time()
        await operations.CancelOperation(operations_pb2.CancelOperationRequest(name=begun.name))
        assert await stopped_after(file, asked) < STOPS_WITHIN_S
        done = await operations.WaitOperation(operations_pb2.WaitOperationRequest(name=begun.name), timeout=30)
    assert done.error.code == code_pb2.CANCELLED


async def test_a_reader_that_leaves_a_stream_stops_the_work(ray_cluster, tmp_path) -> None:
    file = tmp_path / "spin"
    async with engine_of(ray_cluster) as engine:
        async with aclosing(engine.stream(steps.SPIN, StringValue(value=str(file)), StepCall())) as events:
            async for _ in events:
                asked = time.time()
                break
        assert await stopped_after(file, asked) < STOPS_WITHIN_S


async def test_a_cancelled_step_that_waits_for_a_thread_does_not_wait_on(ray_cluster, tmp_path) -> None:
    async with engine_of(ray_cluster) as engine:

        async def spin(number: int) -> None:
            await engine.run(steps.SPIN, StringValue(value=str(tmp_path / str(number))), StepCall())

        spinning = [asyncio.create_task(spin(number)) for number in range(STEPS_PER_REPLICA)]
        try:
            await asyncio.gather(*(grows(tmp_path / str(number)) for number in range(STEPS_PER_REPLICA)))
            late = asyncio.create_task(spin(99))
            await asyncio.sleep(0.5)
            assert not (tmp_path / "99").exists()
            late.cancel()
        finally:
            await asyncio.sleep(0.2)
            for task in spinning:
                task.cancel()
            await asyncio.gather(*spinning, late, return_exceptions=True)
        assert (await engine.run(steps.ECHO, StringValue(value="free"), StepCall(time.time() + 5))).value == "free"
    assert not (tmp_path / "99").exists()


async def test_a_slow_reader_holds_the_step_back(ray_cluster, tmp_path) -> None:
    if ray_cluster.mode == "default":
        pytest.xfail("Serve's default proxy takes in a whole stream, whoever reads it how slowly")
    file = tmp_path / "count"
    async with engine_of(ray_cluster) as engine:
        blobs = engine.stream(steps.BLOBS, StringValue(value=f"{file}|1000"), StepCall())
        async with aclosing(blobs) as events:
            async for _ in events:
                await asyncio.sleep(2.0)
                break
    # 1000 of 256 KiB would be 250 MiB; what gRPC, HAProxy and the host's own queue hold is a tenth of it.
    assert size_of(file) < 100


async def test_messages_above_four_mebibytes_are_refused_with_advice(ray_cluster) -> None:
    async with engine_of(ray_cluster) as engine:
        largest = 4 * 2**20 - 5
        assert len((await engine.run(steps.BLOB, Int64Value(value=largest), StepCall())).value) == largest
        too_large = Int64Value(value=largest + 1)
        with pytest.raises(ResourceExhausted, match="ask for less at once, or hand over an artifact"):
            await engine.run(steps.BLOB, too_large, StepCall())
        with pytest.raises(ResourceExhausted, match="ask for less at once, or hand over an artifact"):
            await drained(engine.stream(steps.BLOB, too_large, StepCall()))
        with pytest.raises(ResourceExhausted, match="ask for less at once, or hand over an artifact"):
            await engine.run(steps.ECHO, StringValue(value="x" * (largest + 1)), StepCall())


async def test_application_metadata_of_a_caller_is_ignored(ray_cluster, store, tmp_path) -> None:
    async with fronted(ray_cluster, store) as a, fronted(ray_cluster, f"file://{tmp_path}/b", "other") as b:
        pid_of_a, pid_of_b = await replica_of(a), await replica_of(b)
        assert pid_of_a != pid_of_b
        for name in ("application", "multiplexed_model_id"):
            answer = await method(a, "Where")(StringValue(), metadata=((name, "other"),))
            assert int(answer.value) == pid_of_a


async def test_what_strangers_get_from_serves_port(ray_cluster) -> None:
    """Serve routes by `application` alone and has no TLS. What keeps strangers out is the token (here), and the
    network policy (in a cluster); what keeps one service's front from another's engine is only that it does not
    ask for it: whoever has the token can name any application."""
    asked = engine_pb2.RunStepRequest(call=engine_pb2.StepCall(step="echo"), request=_packed(StringValue(value="x")))
    async with grpc.aio.insecure_channel(ray_cluster.cluster.address) as channel:
        stub = engine_pb2_grpc.EngineServiceStub(channel)
        for metadata in ((("application", "probe"),), (("application", "probe"), (TOKEN_HEADER, "guess"))):
            answer = await stub.RunStep(asked, metadata=metadata)
            assert answer.status.code == code_pb2.FAILED_PRECONDITION
            assert not answer.HasField("reply")
            answers = [answer async for answer in stub.StreamStep(asked, metadata=metadata)]
            assert [answer.status.code for answer in answers] == [code_pb2.FAILED_PRECONDITION]
            _, raw = await raised(stub.DescribeEngine(engine_pb2.DescribeEngineRequest(), metadata=metadata))
            assert raw.code() is grpc.StatusCode.PERMISSION_DENIED
        token = (TOKEN_HEADER, ray_cluster.cluster.token)
        # Another service's method name reaches no engine: they all serve EngineService and nothing else.
        foreign = channel.unary_unary("/assay.moe_router.v1.MoeRouterService/DescribeModel")
        _, raw = await raised(foreign(b"", metadata=(("application", "probe"), token)))
        assert raw.code() is grpc.StatusCode.UNIMPLEMENTED
        garbage = channel.unary_unary("/assay.engine.v1.EngineService/RunStep")
        await raised(garbage(b"\xff\xff\xff\xff", metadata=(("application", "probe"), token)))
        _, raw = await raised(stub.RunStep(asked, metadata=(("application", "nobody"), token)))
        assert raw.code() is grpc.StatusCode.NOT_FOUND
        for application in ("probe", "other"):
            answer = await stub.RunStep(asked, metadata=(("application", application), token))
            assert answer.reply.Is(StringValue.DESCRIPTOR)


async def test_a_front_with_the_wrong_token_is_told_so(ray_cluster) -> None:
    engine = ServeEngine(ray_cluster.cluster.address, "probe", token="wrong")
    for attempt in (engine.check(), engine.run(steps.ECHO, StringValue(), StepCall())):
        with pytest.raises(FailedPrecondition, match="ASSAY_ENGINE_TOKEN"):
            await attempt
    await engine.close()


async def test_a_caller_of_an_engine_that_is_away_is_told_before_its_deadline(monkeypatch) -> None:
    """As Serve does whose replicas are gone: it takes the call and lets it wait."""

    async def wait(request: object, context: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("assay.engine.on_serve.QUIET_S", 0.2)
    monkeypatch.setattr("assay.engine.on_serve.CHECK_TIMEOUT_S", 1.0)
    names = {"RunStep": grpc.unary_unary_rpc_method_handler, "StreamStep": grpc.unary_stream_rpc_method_handler}
    methods = {name: handler(wait) for name, handler in names.items()}
    methods["DescribeEngine"] = grpc.unary_unary_rpc_method_handler(wait)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("assay.engine.v1.EngineService", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    engine = ServeEngine(f"127.0.0.1:{port}", "probe")
    call = StepCall(deadline_unix_s=time.time() + 3)
    calls = (engine.run(steps.ECHO, StringValue(), call), anext(engine.stream(steps.ECHO, StringValue(), call)))
    waiting = asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0.5)
    with pytest.raises(Unavailable):  # as a front looks after its engine every few seconds
        await engine.check()
    for told in await waiting:
        assert isinstance(told, Unavailable)
        assert told.retry_after_s == 2
    assert time.time() < call.deadline_unix_s
    await engine.close()
    await server.stop(None)


async def test_the_callers_trace_reaches_the_replica(ray_cluster, store) -> None:
    trace_id = uuid.uuid4().hex
    async with fronted(ray_cluster, store) as channel:
        metadata = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),)
        await method(channel, "EngineEcho")(StringValue(value="x"), metadata=metadata)
    deadline = time.monotonic() + 15
    while not (spans := ray_cluster.traces.of(trace_id)):
        assert time.monotonic() < deadline, "no span of the trace was exported"
        await asyncio.sleep(0.1)
    assert spans == {"assay-probe-engine: step echo"}


async def test_a_silent_step_is_heard_of_and_a_silent_engine_given_up(ray_cluster, monkeypatch) -> None:
    monkeypatch.setattr("assay.engine.on_serve.SILENCE_S", HEARTBEAT_S + 1)
    async with engine_of(ray_cluster) as engine:
        pid = int((await engine.run(steps.WHERE, StringValue(), StepCall())).value)
        events = engine.stream(steps.SILENT, DoubleValue(value=60), StepCall())
        assert isinstance(await anext(events), StepProgress)  # of a step that never told any
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match="nothing was heard") as caught:
                await drained(events)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert caught.value.retry_after_s


async def _begin(channel, name: str, value: str):
    begin = method(channel, name, reply=operations_pb2.Operation)
    return await begin(StringValue(value=f"{uuid.uuid4()}|{value}"), timeout=30)


@asynccontextmanager
async def _raw(ray_cluster):
    async with grpc.aio.insecure_channel(ray_cluster.cluster.address) as channel:
        metadata = (("application", "probe"), (TOKEN_HEADER, ray_cluster.cluster.token))
        yield engine_pb2_grpc.EngineServiceStub(channel), metadata


def _packed(message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
