"""What stands before every method: identity, allow list, deadline, limits, decoding, tracing, metrics, errors.

Handlers are wrapped once, when they are registered, instead of by interceptors, which grpc.aio would walk
through again at every call; what depends on the method alone is looked up here and never again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from assay.engine.host import as_assay_error
from assay.errors import AssayError, DeadlineExceeded, InvalidInput, ResourceExhausted
from assay.server.allow import AllowList, check_allowed
from assay.server.call import CURRENT, Call
from assay.server.identity import ANONYMOUS, identify
from assay.server.metrics import Metrics
from assay.server.service import MethodPolicy
from assay.server.settings import ServerSettings
from assay.status import to_status
from assay.telemetry import context_of, current_traceparent, tracer

log = logging.getLogger("assay.access")

OPEN_SERVICES = frozenset({"grpc.health.v1.Health"})  # probes carry no identity
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RETRY_AFTER_S = 1.0


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
        kind = f"{'client_stream' if handler.request_streaming else 'unary'}_to_" + (
            "server_stream" if handler.response_streaming else "unary"
        )
        admission = Admission(
            name,
            self._policies.get(name, MethodPolicy()),
            self._allow.identities(name),
            (lambda context: ANONYMOUS) if service in OPEN_SERVICES else self._identify,
            self._metrics.of_method(_prometheus_type(handler), service, method),
        )
        decode = _decoder(handler)
        build = {
            "unary_to_unary": _unary_unary,
            "unary_to_server_stream": _unary_stream,
            "client_stream_to_unary": _stream_unary,
            "client_stream_to_server_stream": _stream_stream,
        }[kind]
        # Requests are decoded here: grpc's own answer to bytes it cannot decode is INTERNAL.
        return build(handler, admission, decode)


class GuardedServer:
    """Takes the place of a grpc.aio.Server in generated `add_..._to_server` functions."""

    def __init__(self, server: grpc.aio.Server, guard: Guard) -> None:
        self._server = server
        self._guard = guard

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Generated code registers its handlers twice; `add_registered_method_handlers` knows their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        guarded = {name: self._guard.wrap(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._server.add_registered_method_handlers(service, guarded)


class Admission:
    """Lets calls of one method in and sees them out."""

    def __init__(
        self, method: str, policy: MethodPolicy, allowed: frozenset[str], identify_caller: Any, metrics: Any
    ) -> None:
        self._method = method
        self._span_name = method[1:]
        self._policy = policy
        self._allowed = allowed
        self._identify = identify_caller
        self._metrics = metrics
        self._in_flight = 0

    @contextmanager
    def call(self, context: grpc.aio.ServicerContext) -> Any:
        """Around a call: yields the seconds it may take at most, None where the client's own deadline is nearer."""
        begun = self._metrics.begin()
        self._in_flight += 1
        metadata = dict(context.invocation_metadata() or ())
        given = metadata.get("x-request-id", "")
        request_id = given if isinstance(given, str) and REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        caller, code = "", "OK"
        parent = context_of(str(metadata.get("traceparent", "")))
        with tracer.start_as_current_span(self._span_name, context=parent) as span:
            try:
                caller = self._identify(context)
                check_allowed(caller, self._allowed, self._method)
                if self._in_flight > self._policy.max_concurrent:
                    raise ResourceExhausted(
                        f"{self._policy.max_concurrent} calls of {self._method} are being answered already; try again",
                        reason="TOO_MANY_CALLS",
                        retry_after_s=RETRY_AFTER_S,
                    )
                bound_s, deadline_unix_s = self._deadline(context)
                CURRENT.set(Call(self._method, caller, request_id, deadline_unix_s, current_traceparent()))
                yield bound_s
            except (Exception, asyncio.CancelledError) as error:
                code = _code_of(error, context)
                if span.is_recording():
                    span.set_attribute("grpc_code", code)
                raise
            finally:
                self._in_flight -= 1
                seconds = self._metrics.end(begun, code)
                if log.isEnabledFor(logging.INFO):
                    facts = {"method": self._method, "caller": caller, "code": code, "ms": round(seconds * 1e3, 2)}
                    log.info("%s %s", self._method, code, extra=facts)

    def _deadline(self, context: grpc.aio.ServicerContext) -> tuple[float | None, float]:
        given = context.time_remaining()
        policy = self._policy
        if given is not None and given <= policy.max_deadline_s:
            return None, time.time() + given
        bound_s = policy.default_deadline_s if given is None else policy.max_deadline_s
        return bound_s, time.time() + bound_s


async def _within(bound_s: float | None, answer: Awaitable[Any]) -> Any:
    if bound_s is None:
        return await answer
    try:
        async with asyncio.timeout(bound_s):
            return await answer
    except TimeoutError:
        raise DeadlineExceeded() from None


async def _abort(context: grpc.aio.ServicerContext, error: BaseException) -> None:
    """Ends the call with google.rpc.Status; the one place where exceptions become statuses."""
    known = as_assay_error(error)
    call = CURRENT.get(None)
    if call is not None:
        known.metadata.setdefault("request_id", call.request_id)
    details = (("grpc-status-details-bin", to_status(known).SerializeToString()),)
    await context.abort(grpc.StatusCode[known.code], known.message, trailing_metadata=details)


def _code_of(error: BaseException, context: grpc.aio.ServicerContext) -> str:
    if isinstance(error, AssayError):
        return error.code
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    if isinstance(error, grpc.aio.AbortError):
        code = context.code()
        return code.name if isinstance(code, grpc.StatusCode) else str(code)
    return "INTERNAL"


Decode = Callable[[bytes], Any]


def _unary_unary(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.unary_unary

    async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            with admission.call(context) as bound_s:
                return await _within(bound_s, inner(decode(raw), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _stream_unary(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.stream_unary

    async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:
        try:
            with admission.call(context) as bound_s:
                return await _within(bound_s, inner(_decoded(requests, decode), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

    return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _unary_stream(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.unary_stream

    async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> None:
        try:
            with admission.call(context) as bound_s:
                await _within(bound_s, _write_all(inner, decode(raw), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

    return grpc.unary_stream_rpc_method_handler(answer, None, handler.response_serializer)


def _stream_stream(handler: Any, admission: Admission, decode: Decode) -> grpc.RpcMethodHandler:
    inner = handler.stream_stream

    async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        try:
            with admission.call(context) as bound_s:
                await _within(bound_s, _write_all(inner, _decoded(requests, decode), context))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

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


def _prometheus_type(handler: Any) -> str:
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
