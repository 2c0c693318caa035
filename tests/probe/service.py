"""The probe's surface: a method of each kind, and two long ones."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from google.longrunning import operations_pb2
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue

from assay.checkup.v1 import checkup_pb2
from assay.errors import Aborted, InvalidInput
from assay.operations.job import Job, Run
from assay.server.call import current_call
from assay.server.service import Front, MethodPolicy, Service
from probe import steps

FULL_NAME = "assay.probe.v1.ProbeService"
SHARDS = 6


async def digest_all(run: Run, request: StringValue) -> StringValue:
    """Hashes "seconds" worth of shards, then hashes of hashes."""
    requests = [StringValue(value=f"{index}:{request.value}") for index in range(SHARDS)]
    replies = await run.map("shard", steps.DIGEST_SHARD, requests)
    joined = StringValue(value=",".join(reply.value for reply in replies) + ":0")
    return await run.scope("last").step("join", steps.DIGEST_SHARD, joined)


async def spin_forever(run: Run, request: StringValue) -> StringValue:
    return await run.step("spin", steps.SPIN, request)


async def crunch_forever(run: Run, request: StringValue) -> StringValue:
    return await run.step("crunch", steps.CRUNCH, request)


async def fail_later(run: Run, request: StringValue) -> StringValue:
    return await run.step("fail", steps.FAIL, request)


async def examine(run: Run, request: checkup_pb2.ExamineRequest) -> checkup_pb2.ExamineResult:
    reply = await run.step("echo", steps.ECHO, StringValue(value=request.model))
    return checkup_pb2.ExamineResult(section=reply.value)


DIGEST = Job(f"/{FULL_NAME}/Digest", StringValue, StringValue, digest_all)
SPIN = Job(f"/{FULL_NAME}/Spin", StringValue, StringValue, spin_forever)
CRUNCH = Job(f"/{FULL_NAME}/Crunch", StringValue, StringValue, crunch_forever)
FAIL_LATER = Job(f"/{FULL_NAME}/FailLater", StringValue, StringValue, fail_later)
EXAMINE = Job(
    "/assay.checkup.v1.CheckupService/Examine/probe", checkup_pb2.ExamineRequest, checkup_pb2.ExamineResult, examine
)


class ProbeServicer:
    def __init__(self, front: Front) -> None:
        self._front = front

    async def echo(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return request

    async def engine_echo(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return await self._front.engine.run(steps.ECHO, request, current_call().step_call())

    async def where(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return await self._front.engine.run(steps.WHERE, request, current_call().step_call())

    async def spin_now(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return await self._front.engine.run(steps.SPIN, request, current_call().step_call())

    async def caller(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return StringValue(value=current_call().caller)

    async def fail(self, request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return await self._front.engine.run(steps.FAIL, request, current_call().step_call())

    async def sleep(self, request: DoubleValue, context: grpc.aio.ServicerContext) -> StringValue:
        await asyncio.sleep(request.value)
        return StringValue(value="slept")

    async def count(self, request: Int64Value, context: grpc.aio.ServicerContext) -> AsyncIterator[DoubleValue]:
        for number in range(request.value):
            yield DoubleValue(value=number)

    async def total(self, requests: AsyncIterator[DoubleValue], context: grpc.aio.ServicerContext) -> DoubleValue:
        """Adds up; a negative number commits, anything less is aborted."""
        total = 0.0
        async for request in requests:
            if request.value < 0:
                return DoubleValue(value=total)
            total += request.value
        raise Aborted("the stream ended without a commit; nothing was kept, send it again")

    def start(self, job: Job[StringValue, StringValue]):  # type: ignore[no-untyped-def]
        async def begin(request: StringValue, context: grpc.aio.ServicerContext) -> operations_pb2.Operation:
            request_id, found, value = request.value.partition("|")
            if not found:
                raise InvalidInput("request_id", "is missing; write UUID|value")
            return await self._front.operations.start(
                job, StringValue(value=value), caller=current_call().caller, request_id=request_id
            )

        return begin


def add_to_server(server: grpc.aio.Server, front: Front) -> None:
    servicer = ProbeServicer(front)

    def unary(function, request, reply):  # type: ignore[no-untyped-def]
        return grpc.unary_unary_rpc_method_handler(function, request.FromString, reply.SerializeToString)

    server.add_registered_method_handlers(
        FULL_NAME,
        {
            "Echo": unary(servicer.echo, StringValue, StringValue),
            "EngineEcho": unary(servicer.engine_echo, StringValue, StringValue),
            "Where": unary(servicer.where, StringValue, StringValue),
            "SpinNow": unary(servicer.spin_now, StringValue, StringValue),
            "Caller": unary(servicer.caller, StringValue, StringValue),
            "Fail": unary(servicer.fail, StringValue, StringValue),
            "Sleep": unary(servicer.sleep, DoubleValue, StringValue),
            "Count": grpc.unary_stream_rpc_method_handler(
                servicer.count, Int64Value.FromString, DoubleValue.SerializeToString
            ),
            "Total": grpc.stream_unary_rpc_method_handler(
                servicer.total, DoubleValue.FromString, DoubleValue.SerializeToString
            ),
            "Digest": unary(servicer.start(DIGEST), StringValue, operations_pb2.Operation),
            "Spin": unary(servicer.start(SPIN), StringValue, operations_pb2.Operation),
            "Crunch": unary(servicer.start(CRUNCH), StringValue, operations_pb2.Operation),
            "FailLater": unary(servicer.start(FAIL_LATER), StringValue, operations_pb2.Operation),
        },
    )


SERVICE = Service(
    name="probe",
    full_name=FULL_NAME,
    engine_module="probe.engine",
    add_to_server=add_to_server,
    jobs=(DIGEST, SPIN, CRUNCH, FAIL_LATER),
    examine=EXAMINE,
    policies={
        "Sleep": MethodPolicy(default_deadline_s=0.5, max_deadline_s=1.0, max_concurrent=2),
        "Echo": MethodPolicy(max_concurrent=256),
        "EngineEcho": MethodPolicy(max_concurrent=256),
        "Count": MethodPolicy(max_concurrent=1024),
    },
)


def new_id() -> str:
    return str(uuid.uuid4())
