"""The engine on Ray Serve, reached over Serve's internal gRPC port.

Serve picks the application by metadata alone and ignores the service name, so only this class sets
`application`; whatever a caller of the front sent never gets here. Serve loses trailing metadata and leaks
tracebacks in status texts, so failures travel in the messages and remote texts are never passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

import grpc
import grpc.aio
from google.protobuf import any_pb2

from assay.engine.engine import StepCall, StepProgress
from assay.engine.step import ReplyT, RequestT, Step
from assay.engine.v1 import engine_pb2, engine_pb2_grpc
from assay.errors import AssayError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from assay.status import from_status

GRACE_S = 1.0  # the engine itself answers a passed deadline; the transport gives up a little later
CHECK_TIMEOUT_S = 5.0


class ServeEngine:
    """Runs steps on the Serve application `application` behind `address` (host:port, no TLS of its own)."""

    def __init__(self, address: str, application: str, *, message_bytes: int = 4 * 2**20) -> None:
        self._application = application
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", message_bytes),
                ("grpc.max_send_message_length", message_bytes),
                ("grpc.max_reconnect_backoff_ms", 2000),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.enable_retries", 0),
            ],
        )
        self._stub = engine_pb2_grpc.EngineServiceStub(self._channel)

    async def run(self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall) -> ReplyT:
        message = engine_pb2.RunStepRequest(call=call.to_proto(step.name), request=_pack(request))
        try:
            answer = await self._stub.RunStep(message, timeout=_timeout(call), metadata=self._metadata(call))
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from None
        if answer.HasField("status"):
            raise from_status(answer.status)
        return _unpack(answer.reply, step)

    async def stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall
    ) -> AsyncGenerator[StepProgress | ReplyT, None]:
        message = engine_pb2.StreamStepRequest(call=call.to_proto(step.name), request=_pack(request))
        stream = self._stub.StreamStep(message, timeout=_timeout(call), metadata=self._metadata(call))
        try:
            async for answer in stream:
                kind = answer.WhichOneof("event")
                if kind == "progress":
                    event = answer.progress
                    yield StepProgress(event.done, event.total, event.unit, dict(event.figures))
                elif kind == "reply":
                    yield _unpack(answer.reply, step)
                elif kind == "status":
                    raise from_status(answer.status)
                elif kind == "done":
                    return
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from None
        finally:
            # Without this a closed generator would leave the step running.
            stream.cancel()
        raise Unavailable("the engine's stream was cut before the step ended; try again", reason="ENGINE_LOST")

    async def describe(self) -> engine_pb2.DescribeEngineResponse:
        try:
            return await self._stub.DescribeEngine(
                engine_pb2.DescribeEngineRequest(), timeout=CHECK_TIMEOUT_S * 6, metadata=self._metadata(StepCall())
            )
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from None

    async def check(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self.describe()
                return
        raise Unavailable("the engine does not answer; it may be starting", reason="ENGINE_LOST")

    async def close(self) -> None:
        await self._channel.close()

    def _metadata(self, call: StepCall) -> tuple[tuple[str, str], ...]:
        metadata: tuple[tuple[str, str], ...] = (("application", self._application),)
        if call.model_id:
            metadata += (("multiplexed_model_id", call.model_id),)
        if call.traceparent:
            metadata += (("traceparent", call.traceparent),)
        return metadata


def _pack(message: RequestT) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _unpack(packed: any_pb2.Any, step: Step[RequestT, ReplyT]) -> ReplyT:
    reply = step.reply()
    if not packed.Unpack(reply):
        raise Internal(f"the engine answered step {step.name} with another message; align front and engine versions")
    return reply


def _timeout(call: StepCall) -> float | None:
    return None if call.deadline_unix_s is None else max(0.0, call.deadline_unix_s - time.time()) + GRACE_S


def _lost(error: grpc.aio.AioRpcError) -> AssayError:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded()
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ResourceExhausted("a message to or from the engine is too large; ask for less at once")
    return Unavailable(
        "the engine cannot be reached or was lost during the call; try again", reason="ENGINE_LOST", retry_after_s=2.0
    )
