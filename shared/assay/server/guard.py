"""What stands before every method: identity, allow list, deadline, limits, decoding, tracing, metrics, errors.

Handlers are wrapped once, when they are registered, instead of by interceptors, which grpc.aio would walk
through again at every call; what depends on the method alone is looked up here and never again. What is left
runs at every call, mostly with cold caches, so it is kept short.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from opentelemetry import context as trace_context
from opentelemetry import trace

from assay.engine.host import as_assay_error
from assay.errors import AssayError, DeadlineExceeded, InvalidInput, ResourceExhausted, Unimplemented
from assay.server.allow import ANYONE, AllowList, check_allowed
from assay.server.call import CURRENT, Call
from assay.server.identity import ANONYMOUS, Identify, identify
from assay.server.metrics import MethodMetrics, Metrics
from assay.server.service import MethodPolicy
from assay.server.settings import ServerSettings
from assay.status import to_status
from assay.telemetry import context_of, sampling_follows_callers, tracer

log = logging.getLogger("assay.access")

OPEN_SERVICES = frozenset({"grpc.health.v1.Health"})  # probes carry no identity, and learn nothing but health
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RETRY_AFTER_S = 1.0
OUR_FAULT = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
FAILED = trace.Status(trace.StatusCode.ERROR)

Metadata = Sequence[tuple[str, str | bytes]]


class Guard:
    """Wraps a server so that every handler registered on it is guarded. `policies`: by full method name."""

    def __init__(self, settings: ServerSettings, metrics: Metrics, policies: Mapping[str, MethodPolicy]) -> None:
        self._identify = identify(settings.transport)
        self._allow = AllowList(settings.allow)
        self._metrics = metrics
        self._policies = policies

    def around(self, server: grpc.aio.Server) -> GuardedServer:
        return GuardedServer(server, self)

    def wrap(self, service: str, method: str, handler: Any) -> grpc.RpcMethodHandler:
        name = f"/{service}/{method}"
        is_open = service in OPEN_SERVICES
        admission = Admission(
            name,
            self._policies.get(name, MethodPolicy()),
            frozenset({ANYONE}) if is_open else self._allow.identities(name),
            _nobody if is_open else self._identify,
            self._metrics.of_method(_prometheus_type(handler), service, method),
        )
        build = {
            (False, False): _unary_unary,
            (False, True): _unary_stream,
            (True, False): _stream_unary,
            (True, True): _stream_stream,
        }[bool(handler.request_streaming), bool(handler.response_streaming)]
        # Requests are decoded here: grpc's own answer to bytes it cannot decode is INTERNAL.
        return build(handler, admission, _decoder(handler))


class GuardedServer:
    """Takes the place of a grpc.aio.Server in generated `add_..._to_server` functions."""

    def __init__(self, server: grpc.aio.Server, guard: Guard) -> None:
        self._server = server
        self._guard = guard
        self._nameless: set[str] = set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.ServiceRpcHandler]) -> None:
        """Generated code registers its handlers twice; `add_registered_method_handlers` knows their names."""
        self._nameless.update(handler.service_name() for handler in handlers)

    def check_complete(self) -> None:
        """RuntimeError where code of an older generator gave handlers without names: they would go unserved."""
        if self._nameless:
            raise RuntimeError(f"{', '.join(sorted(self._nameless))}: register the handlers by their names")

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self._nameless.discard(service)
        guarded = {name: self._guard.wrap(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._server.add_registered_method_handlers(service, guarded)


class Admission:
    """Lets calls of one method in: who may come, how many at once, for how long."""

    def __init__(
        self,
        method: str,
        policy: MethodPolicy,
        allowed: frozenset[str],
        identify_caller: Identify,
        metrics: MethodMetrics,
    ) -> None:
        service, _, name = method[1:].rpartition("/")
        self.method = method
        self.policy = policy
        self.metrics = metrics
        self.follows_callers = sampling_follows_callers()
        self.span_name = method[1:]
        self.span_attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        self._allowed = allowed
        self._identify = identify_caller

    def admit(self, call: Call, context: grpc.aio.ServicerContext, metadata: Metadata) -> float | None:
        """The seconds a call may take at most, None where the client's own deadline is nearer.

        Raises what the call is refused with.
        """
        call.caller = self._identify(context, metadata)
        check_allowed(call.caller, self._allowed, self.method)
        policy = self.policy
        if self.metrics.in_flight > policy.max_concurrent:
            raise ResourceExhausted(
                f"{policy.max_concurrent} calls of {self.method} are being answered already; try again",
                reason="TOO_MANY_CALLS",
                retry_after_s=RETRY_AFTER_S,
            )
        given = context.time_remaining()
        if given is not None and given <= policy.max_deadline_s:
            call.deadline_unix_s = time.time() + given
            return None
        bound_s = policy.default_deadline_s if given is None else policy.max_deadline_s
        call.deadline_unix_s = time.time() + bound_s
        return bound_s


class Visit:
    """One call from its arrival to its end: counted, traced and logged whichever way it ends.

    Each call is answered in a task of its own, so what is set in the task's context needs no resetting.
    """

    __slots__ = ("_admission", "_begun", "_context", "_metadata", "_span", "call")

    def __init__(self, admission: Admission, context: grpc.aio.ServicerContext) -> None:
        self._admission = admission
        self._context = context

    def __enter__(self) -> Visit:
        admission = self._admission
        self._begun = admission.metrics.begin()
        self._metadata: Metadata = self._context.invocation_metadata() or ()
        request_id = traceparent = ""
        for key, value in self._metadata:
            if key == "x-request-id":
                request_id = value if isinstance(value, str) and REQUEST_ID.fullmatch(value) else ""
            elif key == "traceparent" and isinstance(value, str):
                traceparent = value
        self.call = Call(admission.method, request_id or uuid.uuid4().hex)
        CURRENT.set(self.call)
        parent = context_of(traceparent)
        if parent is not None and traceparent.endswith("-00") and admission.follows_callers:
            # What the sampler would decide is known, and asking it costs more than all the rest.
            self._span = trace.get_current_span(parent)
            trace_context.attach(parent)
        else:
            self._span = tracer.start_span(
                admission.span_name, parent, trace.SpanKind.SERVER, admission.span_attributes
            )
            trace_context.attach(trace.set_span_in_context(self._span))
        return self

    def admit(self) -> float | None:
        return self._admission.admit(self.call, self._context, self._metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        code = "OK" if error is None else _code_of(error, self._context)
        seconds = self._admission.metrics.end(self._begun, code)
        # Told once the answer is on its way: nobody has to wait for the line about his own call.
        asyncio.get_running_loop().call_soon(self._tell, code, seconds, error)

    def _tell(self, code: str, seconds: float, error: BaseException | None) -> None:
        span = self._span
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
            if code in OUR_FAULT:
                span.set_status(FAILED)
            if code == "INTERNAL" and isinstance(error, Exception):
                span.record_exception(error)
            span.end()
        if log.isEnabledFor(logging.INFO):
            method = self._admission.method
            facts = {"method": method, "caller": self.call.caller, "code": code, "ms": round(seconds * 1e3, 2)}
            # As log.info does, but for looking up the line of this file.
            log.handle(log.makeRecord(log.name, logging.INFO, "", 0, f"{method} {code}", (), None, extra=facts))


async def _within(bound_s: float | None, answer: Awaitable[Any]) -> Any:
    if bound_s is None:
        return await answer
    try:
        async with asyncio.timeout(bound_s):
            return await answer
    except TimeoutError:
        raise DeadlineExceeded() from None


async def _abort(visit: Visit, context: grpc.aio.ServicerContext, error: Exception) -> None:
    """Ends the call with google.rpc.Status; the one place where exceptions become statuses."""
    known = _unimplemented() if _is_missing(error, context) else as_assay_error(error)
    known.metadata.setdefault("request_id", visit.call.request_id)
    status = to_status(known)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(grpc.StatusCode[known.code], status.message, trailing_metadata=details)


def _is_missing(error: BaseException, context: grpc.aio.ServicerContext) -> bool:
    """Whether this comes from the generated body of a method that its servicer leaves out."""
    return isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED


def _unimplemented() -> Unimplemented:
    return Unimplemented("this server does not implement the method; a later version of it may")


def _code_of(error: BaseException, context: grpc.aio.ServicerContext) -> str:
    if isinstance(error, AssayError):
        return error.code
    if _is_missing(error, context):
        return "UNIMPLEMENTED"
    if isinstance(error, asyncio.CancelledError):
        remaining_s = context.time_remaining()
        return "DEADLINE_EXCEEDED" if remaining_s is not None and remaining_s <= 0 else "CANCELLED"
    if isinstance(error, grpc.aio.AbortError):
        code = context.code()
        return code.name if isinstance(code, grpc.StatusCode) else str(code)
    return "INTERNAL"


Decode = Callable[[bytes], Any]


def _unary_unary(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.unary_unary

    async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> Any:
        visit = Visit(admission, context)
        try:
            with visit:
                bound_s = visit.admit()
                reply = inner(decode(raw), context)
                return await reply if bound_s is None else await _within(bound_s, reply)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(visit, context, error)

    return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _stream_unary(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.stream_unary

    async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:
        visit = Visit(admission, context)
        try:
            with visit:
                return await _within(visit.admit(), inner(_decoded(requests, decode), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(visit, context, error)

    return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _unary_stream(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.unary_stream

    async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> None:
        visit = Visit(admission, context)
        try:
            with visit:
                await _within(visit.admit(), _write_all(inner, decode(raw), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(visit, context, error)

    return grpc.unary_stream_rpc_method_handler(answer, None, handler.response_serializer)


def _stream_stream(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.stream_stream

    async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        visit = Visit(admission, context)
        try:
            with visit:
                await _within(visit.admit(), _write_all(inner, _decoded(requests, decode), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(visit, context, error)

    return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)


async def _write_all(inner: Any, request: Any, context: grpc.aio.ServicerContext) -> None:
    """Runs a streaming method, be it a generator of replies or one that writes them itself."""
    replies = inner(request, context)
    if inspect.isawaitable(replies):
        await replies
        return
    try:
        async for reply in replies:
            await context.write(reply)
    finally:
        await replies.aclose()


async def _decoded(requests: AsyncIterator[bytes], decode: Decode) -> AsyncIterator[Any]:
    async for raw in requests:
        yield decode(raw)


def _decoder(handler: Any) -> Decode:
    deserialize = handler.request_deserializer

    def decode(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except Exception:
            # Whatever a parser raises on strangers' bytes, the bytes are at fault.
            raise InvalidInput(
                "", "the request is no message of this method; check the proto the client was built from"
            ) from None

    return decode


def _nobody(context: grpc.aio.ServicerContext, metadata: Metadata) -> str:
    return ANONYMOUS


def _prometheus_type(handler: Any) -> str:
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
