"""The engine on Ray Serve, reached over Serve's internal gRPC port.

Serve picks the application by metadata alone and ignores the service name, so only this class sets
`application`; whatever a caller of the front sent never gets here. Serve loses trailing metadata and leaks
tracebacks in status texts, so failures travel in the messages and remote texts are never passed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2

from assay.engine.engine import StepCall, StepProgress
from assay.engine.host import check_size
from assay.engine.serve_wire import SILENCE_S, TOKEN_HEADER, WIRE_BYTES, refused, token_of_environment
from assay.engine.step import ReplyT, RequestT, Step
from assay.engine.v1 import engine_pb2, engine_pb2_grpc
from assay.errors import AssayError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from assay.status import from_status

GRACE_S = 1.0  # the engine itself answers a passed deadline; the transport gives up a little later
HASTE_S = 0.5  # before its deadline a caller hears that the engine is away: afterwards it would hear nothing of us
CHECK_TIMEOUT_S = 5.0
DESCRIBE_TIMEOUT_S = 10.0
RETRY_AFTER_S = 2.0


class ServeEngine:
    """Runs steps on the Serve application `application` behind `address` (host:port, no TLS of its own).

    token: what the engine expects of its fronts, by default ASSAY_ENGINE_TOKEN.
    """

    def __init__(self, address: str, application: str, *, token: str | None = None) -> None:
        shown = token_of_environment() if token is None else token
        self._metadata = (("application", application), *(((TOKEN_HEADER, shown),) if shown else ()))
        # As the one-field message ListApplicationsResponse spells it.
        self._listed = b"\x0a" + bytes([len(application)]) + application.encode()
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", WIRE_BYTES),
                ("grpc.max_send_message_length", WIRE_BYTES),
                ("grpc.max_reconnect_backoff_ms", 2000),
                # More often than every five minutes, Serve's own gRPC server takes pings on a silent connection
                # for an attack and cuts every stream on it.
                ("grpc.keepalive_time_ms", 310_000),
                ("grpc.enable_retries", 0),
            ],
        )
        self._stub = engine_pb2_grpc.EngineServiceStub(self._channel)
        self._applications = self._channel.unary_unary("/ray.serve.RayServeAPIService/ListApplications")
        self._answered = False  # since it was last lost
        self._away = False  # lost, and not heard of since

    async def run(self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall) -> ReplyT:
        message = engine_pb2.RunStepRequest(call=call.to_proto(step.name), request=_pack(request))
        away = self._away
        try:
            answer = await self._stub.RunStep(message, timeout=_timeout(call, away), metadata=self._metadata_of(call))
        except grpc.aio.AioRpcError as error:
            raise self._lost(error, away) from None
        self._heard()
        if answer.HasField("status"):
            raise from_status(answer.status)
        return _unpack(answer.reply, step)

    async def stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall
    ) -> AsyncGenerator[StepProgress | ReplyT, None]:
        message = engine_pb2.StreamStepRequest(call=call.to_proto(step.name), request=_pack(request))
        away = self._away
        stream = self._stub.StreamStep(message, timeout=_timeout(call, away), metadata=self._metadata_of(call))
        try:
            async with aclosing(_unless_silent(stream)) as answers:
                async for answer in answers:
                    self._heard()
                    away = False
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
            raise self._lost(error, away) from None
        finally:
            # Without this a closed generator would leave the step running.
            stream.cancel()
        raise Unavailable("the engine's stream was cut before the step ended; try again", reason="ENGINE_LOST")

    async def describe(self) -> engine_pb2.DescribeEngineResponse:
        return await self._describe(DESCRIBE_TIMEOUT_S)

    async def check(self) -> None:
        """Asks a replica until one has answered; from then on, and until one is lost, only Serve.

        A call to a replica is demand: asked for ever, no engine would ever be scaled to zero.
        """
        if not self._answered:
            await self._describe(CHECK_TIMEOUT_S)
            return
        try:
            known = await self._applications(b"", timeout=CHECK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        if self._listed not in known:
            self._answered, self._away = False, True
            raise Unavailable("the engine is not deployed; it may be starting", reason="ENGINE_LOST")

    async def close(self) -> None:
        await self._channel.close()

    async def _describe(self, timeout_s: float) -> engine_pb2.DescribeEngineResponse:
        try:
            answer: engine_pb2.DescribeEngineResponse = await self._stub.DescribeEngine(
                engine_pb2.DescribeEngineRequest(), timeout=timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise self._lost(error, away=True) from None
        self._heard()
        return answer

    def _heard(self) -> None:
        self._answered, self._away = True, False

    def _metadata_of(self, call: StepCall) -> tuple[tuple[str, str], ...]:
        metadata = self._metadata
        if call.model_id:
            metadata += (("multiplexed_model_id", call.model_id),)
        if call.traceparent:
            metadata += (("traceparent", call.traceparent),)
        return metadata

    def _lost(self, error: grpc.aio.AioRpcError, away: bool = False) -> AssayError:
        """What a failure of the transport means. Its text is Ray's, and stays here.

        away: nothing was heard of the engine before the call and during it.
        """
        code = error.code()
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return refused()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if "larger than max" in (error.details() or ""):
                return ResourceExhausted("a message to or from the engine is too large; ask for less at once")
            return Unavailable(
                "the engine has too much to do; try again", reason="ENGINE_BUSY", retry_after_s=RETRY_AFTER_S
            )
        self._answered = False
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and not away:
            return DeadlineExceeded()
        self._away = True
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(
                "the engine does not answer; it may be starting", reason="ENGINE_LOST", retry_after_s=RETRY_AFTER_S
            )
        return Unavailable(
            "the engine cannot be reached or was lost during the call; try again",
            reason="ENGINE_LOST",
            retry_after_s=RETRY_AFTER_S,
        )


async def _unless_silent(stream: Any) -> AsyncGenerator[Any, None]:
    """The stream's answers; Unavailable where they stop coming. The first may take its time: engines scale up."""
    limit_s = None
    answers = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(limit_s):
                answer = await anext(answers, None)
        except TimeoutError:
            raise Unavailable("nothing was heard of the engine; try again", reason="ENGINE_LOST") from None
        if answer is None:
            return
        limit_s = SILENCE_S
        yield answer


def _pack(message: RequestT) -> any_pb2.Any:
    check_size(message)
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _unpack(packed: any_pb2.Any, step: Step[RequestT, ReplyT]) -> ReplyT:
    reply = step.reply()
    if not packed.Unpack(reply):
        raise Internal(f"the engine answered step {step.name} with another message; align front and engine versions")
    return reply


def _timeout(call: StepCall, away: bool) -> float | None:
    if call.deadline_unix_s is None:
        return None
    left_s = max(0.0, call.deadline_unix_s - time.time())
    return max(left_s / 2, left_s - HASTE_S) if away else left_s + GRACE_S
