"""What lies beyond a service's methods: limits of messages, unknown names, neighbours, forged routing, drains."""

from __future__ import annotations

import asyncio
import time
import uuid

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue
from probe import other
from probe.service import FULL_NAME
from probe.serving import method, serving
from prometheus_client import CollectorRegistry

from assay.engine.v1 import engine_pb2, engine_pb2_grpc
from assay.errors import Aborted, DeadlineExceeded, Internal, InvalidInput, ResourceExhausted, Unavailable
from assay.operations.v1 import operations_pb2 as assay_operations_pb2
from assay.operations.v1 import operations_pb2_grpc as assay_operations_pb2_grpc
from assay.server.service import Front, Service

MEBIBYTE = 2**20


def call(channel: grpc.aio.Channel, name: str):  # type: ignore[no-untyped-def]
    """A method by its full name, of StringValue."""
    return channel.unary_unary(name, StringValue.SerializeToString, StringValue.FromString)


async def test_the_limit_of_a_message_holds_in_streams_too(store: str, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        total = channel.stream_unary(f"/{FULL_NAME}/Total", lambda raw: raw, DoubleValue.FromString)
        error = await refused(total(iter([DoubleValue(value=1).SerializeToString(), b"\0" * (4 * MEBIBYTE + 1)])))
        assert isinstance(error, ResourceExhausted)
        # The next call on the same connection is none the worse for it.
        assert (await method(channel, "Echo")(StringValue(value="x"))).value == "x"


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0b", b"\x0a\xff\xff\xff\xff\x0f"])
async def test_whatever_the_garbage_it_is_the_callers_fault(store: str, refused, raw: bytes) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        for name in ("Echo", "Fail", "Digest"):
            send = channel.unary_unary(f"/{FULL_NAME}/{name}", lambda data: data, StringValue.FromString)
            assert isinstance(await refused(send(raw)), InvalidInput)
        stream = channel.unary_stream(f"/{FULL_NAME}/Count", lambda data: data, DoubleValue.FromString)
        assert isinstance(await refused(anext(aiter(stream(b"\xff")))), InvalidInput)


async def test_unknown_methods_and_services_are_unimplemented(store: str, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        for name in (f"/{FULL_NAME}/Nothing", "/assay.nothing.v1.Nothing/Echo", "/Echo", f"/{FULL_NAME}/", "//"):
            assert (await refused(call(channel, name)(StringValue(value="x")))).code == "UNIMPLEMENTED"


async def test_a_method_that_a_servicer_leaves_out_is_unimplemented(store: str, refused) -> None:
    def add_to_server(server: grpc.aio.Server, front: Front) -> None:
        engine_pb2_grpc.add_EngineServiceServicer_to_server(engine_pb2_grpc.EngineServiceServicer(), server)

    bare = Service("bare", "assay.engine.v1.EngineService", "probe.other", add_to_server)
    registry = CollectorRegistry()
    async with (
        serving(store, beside=[bare], registry=registry) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = engine_pb2_grpc.EngineServiceStub(channel)
        for call in (
            stub.RunStep(engine_pb2.RunStepRequest()),
            anext(aiter(stub.StreamStep(engine_pb2.StreamStepRequest()))),
        ):
            error = await refused(call)
            assert error.code == "UNIMPLEMENTED"
            assert "later version" in error.message
    labels = {"grpc_type": "unary", "grpc_service": bare.full_name, "grpc_method": "RunStep"}
    handled = registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": "UNIMPLEMENTED"})
    assert handled == 1


async def test_a_service_never_answers_for_its_neighbour(store: str, refused) -> None:
    async with serving(store, beside=[other.OTHER]) as server, grpc.aio.insecure_channel(server.address) as channel:
        asked = StringValue(value="x")
        # Serve's own ingress would run the method of whichever application this header names.
        for application in ((), (("application", "other"),), (("application", "probe"),), (("application", ""),)):
            for step, answers in (
                ("Echo", {FULL_NAME: "x", other.FULL_NAME: "the other's method: x"}),
                ("EngineEcho", {FULL_NAME: "x", other.FULL_NAME: "the other's step: x"}),
            ):
                for service, answer in answers.items():
                    found = await call(channel, f"/{service}/{step}")(asked, metadata=application)
                    assert found.value == answer
            error = await refused(call(channel, f"/{FULL_NAME}/OnlyHere")(asked, metadata=application))
            assert error.code == "UNIMPLEMENTED"
            error = await refused(call(channel, f"/{other.FULL_NAME}/Caller")(asked, metadata=application))
            assert error.code == "UNIMPLEMENTED"


async def test_what_an_error_quotes_is_cut_to_what_a_client_can_receive(store: str, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        for text in ("x" * MEBIBYTE, "\U0001f9ea" * (MEBIBYTE // 4), "\n" * 100_000):
            error = await refused(stub.ListOperations(operations_pb2.ListOperationsRequest(filter=text)))
            assert isinstance(error, InvalidInput)
            assert error.violations[0].field == "filter"
            assert len(error.message) < 2000


async def test_a_call_that_its_client_gave_up_is_counted_as_what_it_was(store: str, refused) -> None:
    registry = CollectorRegistry()

    def handled(code: str) -> float | None:
        labels = {"grpc_type": "unary", "grpc_service": FULL_NAME, "grpc_method": "Sleep", "grpc_code": code}
        return registry.get_sample_value("grpc_server_handled_total", labels)

    async with serving(store, registry=registry) as server, grpc.aio.insecure_channel(server.address) as channel:
        sleep = method(channel, "Sleep", DoubleValue)
        assert isinstance(await refused(sleep(DoubleValue(value=30), timeout=0.2)), DeadlineExceeded)
        given_up = sleep(DoubleValue(value=30), timeout=0.9)
        await asyncio.sleep(0.1)
        given_up.cancel()
        await asyncio.sleep(0.3)
        assert (handled("DEADLINE_EXCEEDED"), handled("CANCELLED")) == (1, 1)
        labels = {"grpc_type": "unary", "grpc_service": FULL_NAME, "grpc_method": "Sleep"}
        assert registry.get_sample_value("grpc_server_in_flight", labels) == 0


async def test_metrics_read_as_prometheus_wants_them(store: str) -> None:
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    registry = CollectorRegistry()
    async with serving(store, registry=registry) as server, grpc.aio.insecure_channel(server.address) as channel:
        await method(channel, "Echo")(StringValue(value="x"))
        await method(channel, "Sleep", DoubleValue)(DoubleValue(value=0.03))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    buckets = [
        sample.value
        for sample in families["grpc_server_handling_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["grpc_method"] == "Sleep"
    ]
    # 30 ms lie in (0.025, 0.05], the fifth of 16 bounds and infinity: four buckets without it, thirteen with it.
    assert buckets == [0.0] * 5 + [1.0] * 12
    assert families["assay_dependencies_up"].samples[0].value == 1


async def test_a_client_stream_that_is_cancelled_half_way_is_not_committed(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        total = channel.stream_unary(f"/{FULL_NAME}/Total", DoubleValue.SerializeToString, DoubleValue.FromString)
        stream = total()
        await stream.write(DoubleValue(value=1))
        stream.cancel()
        assert await stream.code() is grpc.StatusCode.CANCELLED


async def test_a_stream_whose_reader_goes_stops_its_generator(store: str) -> None:
    registry = CollectorRegistry()
    labels = {"grpc_type": "server_stream", "grpc_service": FULL_NAME, "grpc_method": "Count"}
    async with serving(store, registry=registry) as server, grpc.aio.insecure_channel(server.address) as channel:
        count = channel.unary_stream(f"/{FULL_NAME}/Count", Int64Value.SerializeToString, DoubleValue.FromString)
        stream = count(Int64Value(value=10**9))
        assert (await anext(aiter(stream))).value == 0
        stream.cancel()
        deadline = time.monotonic() + 5
        while registry.get_sample_value("grpc_server_in_flight", labels):
            assert time.monotonic() < deadline, "the server goes on counting"
            await asyncio.sleep(0.02)


async def test_a_drain_sends_watchers_elsewhere_instead_of_waiting_for_them(store: str, tmp_path, refused) -> None:
    file = tmp_path / "spin"
    async with serving(store, grace_s=30.0) as server, grpc.aio.insecure_channel(server.address) as channel:
        start = channel.unary_unary(
            f"/{FULL_NAME}/Spin", StringValue.SerializeToString, operations_pb2.Operation.FromString
        )
        operation = await start(StringValue(value=f"{uuid.uuid4()}|{file}"))
        watch = assay_operations_pb2_grpc.OperationWatchServiceStub(channel).WatchOperation(
            assay_operations_pb2.WatchOperationRequest(name=operation.name)
        )
        wait = operations_pb2_grpc.OperationsStub(channel).WaitOperation(
            operations_pb2.WaitOperationRequest(name=operation.name)
        )
        await anext(aiter(watch))
        begun = time.monotonic()
        stopping = asyncio.create_task(server.stop())

        async def drain() -> None:
            async for _ in watch:
                pass

        for waiting in (drain(), wait):
            error = await refused(waiting)
            assert isinstance(error, Unavailable)
            assert error.reason == "STOPPING"
        await stopping
        # Not the 30 s of grace.
        assert time.monotonic() - begun < 5


async def test_two_servers_cannot_share_an_address(store: str) -> None:
    from assay.errors import FailedPrecondition

    async with serving(store) as server:
        with pytest.raises(FailedPrecondition, match="another server"):
            async with serving(store, listen=server.address):
                pass


async def test_what_a_step_raises_keeps_its_kind_and_an_unexpected_error_its_secret(store: str, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        error = await refused(method(channel, "Fail")(StringValue(value="boom"), metadata=(("x-request-id", "r-1"),)))
        assert isinstance(error, Internal)
        assert error.metadata["request_id"] == "r-1"
        total = channel.stream_unary(f"/{FULL_NAME}/Total", DoubleValue.SerializeToString, DoubleValue.FromString)
        assert isinstance(await refused(total(iter([]))), Aborted)
