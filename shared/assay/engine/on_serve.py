"""The engine on Ray Serve, reached over Serve's internal gRPC port.

Serve picks the application by metadata alone and ignores the service name, so only this class sets
`application`; whatever a caller of the front sent never gets here. Serve loses trailing metadata and leaks
tracebacks in status texts, so failures travel in the messages and remote texts are never passed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

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
QUIET_S = 2.0  # a step that says nothing for so long is reason to ask whether a replica lives
HASTE_S = 0.5  # before its deadline a caller hears that the engine is away: afterwards it would hear nothing of us
CHECK_TIMEOUT_S = 5.0
DESCRIBE_TIMEOUT_S = 10.0
RETRY_AFTER_S = 2.0

T = TypeVar("T")


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
        self._waiting: dict[asyncio.Future[Any], float] = {}  # steps of which nothing was heard yet, and since when

    async def run(self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall) -> ReplyT:
        message = engine_pb2.RunStepRequest(call=call.to_proto(step.name), request=_pack(request))
        try:
            answer = await self._in_time(
                self._stub.RunStep(message, timeout=_timeout(call), metadata=self._metadata_of(call)), call
            )
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        self._heard()
        if answer.HasField("status"):
            raise from_status(answer.status)
        return _unpack(answer.reply, step)

    async def stream(
        self, step: Step[RequestT, ReplyT], request: RequestT, call: StepCall
    ) -> AsyncGenerator[StepProgress | ReplyT, None]:
        message = engine_pb2.StreamStepRequest(call=call.to_proto(step.name), request=_pack(request))
        stream = self._stub.StreamStep(message, timeout=_timeout(call), metadata=self._metadata_of(call))
        try:
            async with aclosing(self._unless_silent(stream, call)) as answers:
                async for answer in answers:
                    self._heard()
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
            raise self._lost(error) from None
        finally:
            # Without this a closed generator would leave the step running.
            stream.cancel()
        raise Unavailable("the engine's stream was cut before the step ended; try again", reason="ENGINE_LOST")

    async def describe(self) -> engine_pb2.DescribeEngineResponse:
        return await self._describe(DESCRIBE_TIMEOUT_S)

    async def check(self) -> None:
        """Asks a replica until one has answered; from then on only Serve, unless one is lost or a step says nothing.

        A call to a replica is demand: asked for ever, no engine would ever be scaled to zero.
        """
        if not self._answered or any(time.monotonic() - since > QUIET_S for since in self._waiting.values()):
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
            self._away = self._away or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            raise self._lost(error) from None
        self._heard()
        return answer

    async def _in_time(self, pending: Awaitable[T], call: StepCall) -> T:
        """The answer; Unavailable a little before the deadline where the engine turned out to be away."""
        task = asyncio.ensure_future(pending)
        self._waiting[task] = time.monotonic()
        left_s = None if call.deadline_unix_s is None else max(0.0, call.deadline_unix_s - time.time() - HASTE_S)
        try:
            await asyncio.wait({task}, timeout=left_s)
            if not task.done() and self._away:
                raise _silent()
            return await task
        finally:
            del self._waiting[task]
            task.cancel()

    async def _unless_silent(self, stream: Any, call: StepCall) -> AsyncGenerator[Any, None]:
        """The stream's answers; Unavailable where they stop coming. The first may take its time: engines scale up."""
        answers = aiter(stream)
        answer = await self._in_time(anext(answers, None), call)
        while answer is not None:
            yield answer
            try:
                async with asyncio.timeout(SILENCE_S):
                    answer = await anext(answers, None)
            except TimeoutError:
                raise Unavailable("nothing was heard of the engine; try again", reason="ENGINE_LOST") from None

    def _heard(self) -> None:
        self._answered, self._away = True, False

    def _metadata_of(self, call: StepCall) -> tuple[tuple[str, str], ...]:
        metadata = self._metadata
        if call.model_id:
            metadata += (("multiplexed_model_id", call.model_id),)
        if call.traceparent:
            metadata += (("traceparent", call.traceparent),)
        return metadata

    def _lost(self, error: grpc.aio.AioRpcError) -> AssayError:
        """What a failure of the transport means. Its text is Ray's, and stays here."""
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
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return _silent() if self._away else DeadlineExceeded()
        self._away = True
        return Unavailable(
            "the engine cannot be reached or was lost during the call; try again",
            reason="ENGINE_LOST",
            retry_after_s=RETRY_AFTER_S,
        )


def _silent() -> Unavailable:
    return Unavailable(
        "the engine does not answer; it may be starting", reason="ENGINE_LOST", retry_after_s=RETRY_AFTER_S
    )


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


def _timeout(call: StepCall) -> float | None:
    return None if call.deadline_unix_s is None else max(0.0, call.deadline_unix_s - time.time()) + GRACE_S
