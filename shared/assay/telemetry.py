"""Traces: one from the client through the front to the engine, in W3C form. Free where none is configured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_propagator = TraceContextTextMapPropagator()
tracer = trace.get_tracer("assay")


def current_traceparent() -> str:
    """The `traceparent` header of the current span; empty where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else ""


def context_of(traceparent: str) -> Context | None:
    """The context a `traceparent` header stands for; None where it is empty."""
    if not traceparent:
        return None
    parsed = TRACEPARENT.fullmatch(traceparent)
    if parsed is None:
        # A later version of the header, or nonsense.
        return _propagator.extract({"traceparent": traceparent})
    trace_id, span_id, flags = (int(part, 16) for part in parsed.groups())
    remote = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())


def sampling_follows_callers() -> bool:
    """Whether a span below one that its caller did not sample is never recorded: true of the usual samplers."""
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    return sampler is None or "remoteParentNotSampled:AlwaysOff" in sampler.get_description()


@contextmanager
def span(name: str, traceparent: str, **attributes: str) -> Iterator[trace.Span]:
    """A span below the one `traceparent` names."""
    with tracer.start_as_current_span(name, context=context_of(traceparent), attributes=attributes) as current:
        yield current


def configure(service: str, *, otlp_endpoint: str = "", console: bool = False) -> None:
    """Sends this process's spans to an OTLP collector (gRPC, e.g. http://collector:4317) or to stderr."""
    if not otlp_endpoint and not console:
        return
    import sys

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if console:
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=otlp_endpoint.startswith("http://"))
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
