"""Traces: one from the client through the front to the engine, in W3C form. Free where none is configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
tracer = trace.get_tracer("assay")


def current_traceparent() -> str:
    """The `traceparent` header of the current span; empty where nothing is traced."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def context_of(traceparent: str) -> Context | None:
    """The context a `traceparent` header stands for; None where it is empty."""
    return _propagator.extract({"traceparent": traceparent}) if traceparent else None


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
