"""The chassis over a real socket: errors, deadlines, limits, health, tracing, metrics, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from probe.service import FULL_NAME
from probe.serving import method, serving
from prometheus_client import CollectorRegistry

from assay.client.errors import error_from_rpc
from assay.errors import Aborted, DataLoss, DeadlineExceeded, Internal, InvalidInput, ResourceExhausted
from assay.server.logs import JsonFormatter
from assay.server.settings import ServerSettings


async def test_bad_input_names_the_field_in_google_rpc_status(store, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        error = await refused(method(channel, "Fail")(StringValue(value="invalid")))
        assert isinstance(error, InvalidInput)
        assert error.violations[0].field == "layers[3].tokens"
        status = status_pb2.Status.FromString(dict(error.raw.trailing_metadata())["grpc-status-details-bin"])
        assert status.code == error.raw.code().value[0] == 3
        kinds = {detail.TypeName() for detail in status.details}
        assert kinds == {"google.rpc.ErrorInfo", "google.rpc.BadRequest"}
        error = await refused(method(channel, "Fail")(StringValue(value="data-loss")))
        assert isinstance(error, DataLoss)


async def test_an_unexpected_exception_shows_an_id_and_logs_the_traceback(store, caplog, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        error = await refused(method(channel, "Fail")(StringValue(value="/etc/shadow")))
    assert isinstance(error, Internal)
    said = error.raw.details() + repr(error.raw.trailing_metadata())
    for word in ("secret", "shadow", "Traceback", "RuntimeError"):
        assert word not in said
    record = next(r for r in caplog.records if error.metadata["error_id"] in r.getMessage())
    assert "secret of the host: /etc/shadow" in JsonFormatter().format(record)


async def test_garbage_is_the_callers_fault(store, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        send = channel.unary_unary(f"/{FULL_NAME}/Echo", lambda raw: raw, StringValue.FromString)
        error = await refused(send(b"\xff\xff\xff\xff"))
        assert isinstance(error, InvalidInput)
        total = channel.stream_unary(f"/{FULL_NAME}/Total", lambda raw: raw, DoubleValue.FromString)
        error = await refused(total(iter([b"\xff\xff\xff"])))
        assert isinstance(error, InvalidInput)


async def test_a_message_above_four_mebibytes_is_refused(store, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        largest = StringValue(value="x" * (4 * 2**20 - 64))
        assert (await method(channel, "Echo")(largest)).value == largest.value
        error = await refused(method(channel, "Echo")(StringValue(value="x" * (4 * 2**20 + 1))))
        assert isinstance(error, ResourceExhausted)


async def test_default_and_maximum_deadlines_hold(store, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        sleep = method(channel, "Sleep", DoubleValue)
        for timeout, expected_s in ((None, 0.5), (60.0, 1.0)):
            begun = time.monotonic()
            error = await refused(sleep(DoubleValue(value=30), timeout=timeout))
            assert isinstance(error, DeadlineExceeded)
            assert expected_s <= time.monotonic() - begun < expected_s + 1.0
        assert (await sleep(DoubleValue(value=0.7), timeout=5)).value == "slept"


async def test_calls_beyond_the_limit_are_told_when_to_come_back(store) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        sleep = method(channel, "Sleep", DoubleValue)
        answers = await asyncio.gather(*(sleep(DoubleValue(value=0.3)) for _ in range(6)), return_exceptions=True)
        refused = [error_from_rpc(a) for a in answers if isinstance(a, grpc.aio.AioRpcError)]
        assert len(refused) == 4  # two run at a time
        assert all(isinstance(e, ResourceExhausted) and e.retry_after_s == 1.0 for e in refused)
        status = next(
            status_pb2.Status.FromString(dict(a.trailing_metadata())["grpc-status-details-bin"])
            for a in answers
            if isinstance(a, grpc.aio.AioRpcError)
        )
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        assert (await sleep(DoubleValue(value=0.0))).value == "slept"


async def test_a_client_stream_without_commit_is_aborted(store, refused) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        total = channel.stream_unary(f"/{FULL_NAME}/Total", DoubleValue.SerializeToString, DoubleValue.FromString)
        numbers = [DoubleValue(value=n) for n in (1.0, 2.0, 4.0)]
        assert (await total(iter([*numbers, DoubleValue(value=-1)]))).value == 7.0
        error = await refused(total(iter(numbers)))
        assert isinstance(error, Aborted)


async def test_server_streams_arrive_whole_and_in_order(store) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        count = channel.unary_stream(f"/{FULL_NAME}/Count", Int64Value.SerializeToString, DoubleValue.FromString)
        assert [reply.value async for reply in count(Int64Value(value=500))] == list(range(500))


async def test_health_has_three_names_and_a_store_outage_turns_one(minio_server, monkeypatch, refused) -> None:
    monkeypatch.setenv("ASSAY_S3_ACCESS_KEY", minio_server.access_key)
    monkeypatch.setenv("ASSAY_S3_SECRET_KEY", minio_server.secret_key)
    monkeypatch.setattr("assay.server.health.CHECK_INTERVAL_S", 0.2)
    store = minio_server.make_bucket(f"health-{uuid.uuid4().hex[:8]}")
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def statuses() -> dict[str, int]:
            names = ("live", "", FULL_NAME)
            return {n: (await health.Check(health_pb2.HealthCheckRequest(service=n))).status for n in names}

        async def until(expected: dict[str, int]) -> None:
            deadline = time.monotonic() + 30
            while (seen := await statuses()) != expected:
                assert time.monotonic() < deadline, seen
                await asyncio.sleep(0.1)

        await until({"live": 1, "": 1, FULL_NAME: 1})
        await asyncio.to_thread(minio_server.kill)
        await until({"live": 1, "": 1, FULL_NAME: 2})
        # What needs the store says so and when to come back; what does not need it goes on.
        start = channel.unary_unary(f"/{FULL_NAME}/Digest", StringValue.SerializeToString, StringValue.FromString)
        error = await refused(start(StringValue(value=f"{uuid.uuid4()}|0"), timeout=30))
        assert error.code == "UNAVAILABLE"
        assert error.retry_after_s
        assert (await method(channel, "Echo")(StringValue(value="still here"))).value == "still here"
        await asyncio.to_thread(minio_server.restart)
        await until({"live": 1, "": 1, FULL_NAME: 1})


async def test_draining_turns_readiness_first_and_lets_calls_end(store) -> None:
    async with (
        serving(store, drain_s=0.4, grace_s=5.0) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        in_flight = asyncio.ensure_future(method(channel, "Sleep", DoubleValue)(DoubleValue(value=0.45)))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.1)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2
        assert (await health.Check(health_pb2.HealthCheckRequest(service="live"))).status == 1
        assert (await in_flight).value == "slept"
        await stopping


async def test_one_trace_reaches_from_the_client_into_the_engine_step(store, monkeypatch) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr("assay.telemetry.tracer", tracer)
    monkeypatch.setattr("assay.server.guard.tracer", tracer)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        metadata = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),)
        await method(channel, "EngineEcho")(StringValue(value="x"), metadata=metadata)
    found = {span.name: span for span in spans.get_finished_spans()}
    server_span, step_span = found[f"{FULL_NAME}/EngineEcho"], found["step echo"]
    assert f"{server_span.context.trace_id:032x}" == f"{step_span.context.trace_id:032x}" == trace_id
    assert f"{server_span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert step_span.parent.span_id == server_span.context.span_id


async def test_metrics_count_by_method_and_code(store, refused) -> None:
    registry = CollectorRegistry()
    async with serving(store, registry=registry) as server, grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(3):
            await method(channel, "Echo")(StringValue(value="x"))
        await refused(method(channel, "Fail")(StringValue(value="invalid")))
    labels = {"grpc_type": "unary", "grpc_service": FULL_NAME, "grpc_method": "Echo"}
    assert registry.get_sample_value("grpc_server_started_total", labels) == 3
    assert registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": "OK"}) == 3
    assert registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 3
    assert registry.get_sample_value("grpc_server_in_flight", labels) == 0
    failed = {**labels, "grpc_method": "Fail", "grpc_code": "INVALID_ARGUMENT"}
    assert registry.get_sample_value("grpc_server_handled_total", failed) == 1


async def test_log_lines_are_json_with_the_callers_request_id(store) -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    log = logging.getLogger("assay.access")
    handler, level = Keep(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
            await method(channel, "Echo")(StringValue(value="x"), metadata=(("x-request-id", "abc-123"),))
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    line = next(json.loads(text) for text in lines if "Echo" in text)
    assert line["request_id"] == "abc-123"
    assert (line["code"], line["method"]) == ("OK", f"/{FULL_NAME}/Echo")
    assert line["ms"] > 0


def test_settings_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="ASSAY_TRANSPORT"):
        ServerSettings.from_environment({"ASSAY_TRANSPORT": "tls"})
    with pytest.raises(InvalidInput, match="ASSAY_TLS_CERT"):
        ServerSettings.from_environment({"ASSAY_TRANSPORT": "mtls"})
    with pytest.raises(InvalidInput, match="ASSAY_TLS_CERT"):
        ServerSettings.from_environment({"ASSAY_TLS_CERT": "a", "ASSAY_TLS_KEY": "b", "ASSAY_TLS_CLIENT_CA": "c"})
