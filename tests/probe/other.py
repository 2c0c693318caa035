"""A second service beside the probe, with a method and a step that bear the same names as the probe's."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue

from assay.engine.step import StepContext
from assay.server.call import current_call
from assay.server.service import Front, Service
from probe import steps

FULL_NAME = "assay.other.v1.OtherService"


def echo(request: StringValue, context: StepContext) -> StringValue:
    return StringValue(value=f"the other's step: {request.value}")


STEPS = {steps.ECHO: echo}


def add_to_server(server: grpc.aio.Server, front: Front) -> None:
    async def answer(request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return StringValue(value=f"the other's method: {request.value}")

    async def engine_echo(request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return await front.engine.run(steps.ECHO, request, current_call().step_call())

    def unary(function):  # type: ignore[no-untyped-def]
        return grpc.unary_unary_rpc_method_handler(function, StringValue.FromString, StringValue.SerializeToString)

    server.add_registered_method_handlers(
        FULL_NAME, {"Echo": unary(answer), "EngineEcho": unary(engine_echo), "OnlyHere": unary(answer)}
    )


OTHER = Service(name="other", full_name=FULL_NAME, engine_module="probe.other", add_to_server=add_to_server)
