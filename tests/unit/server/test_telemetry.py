"""Trace context in W3C form, held against OpenTelemetry's own propagator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from assay.telemetry import context_of, current_traceparent, sampling_follows_callers

headers = st.builds(
    "00-{:032x}-{:016x}-{:02x}".format,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
)


def as_the_library_reads(header: str) -> trace.SpanContext:
    found = TraceContextTextMapPropagator().extract({"traceparent": header})
    return trace.get_current_span(found).get_span_context()


@given(headers | st.text(max_size=60) | headers.map(str.upper) | headers.map("01{0[2]}".format))
def test_headers_are_read_as_the_library_reads_them(header: str) -> None:
    theirs = as_the_library_reads(header)
    context = context_of(header)
    ours = trace.get_current_span(context).get_span_context() if context is not None else trace.INVALID_SPAN_CONTEXT
    assert ours.is_valid == theirs.is_valid
    if theirs.is_valid:
        assert (ours.trace_id, ours.span_id, ours.trace_flags) == (theirs.trace_id, theirs.span_id, theirs.trace_flags)
        assert ours.is_remote


@given(headers)
def test_what_is_read_is_written_again(header: str) -> None:
    context = context_of(header)
    assert context is not None
    span = trace.get_current_span(context)
    with trace.use_span(span, end_on_exit=False):
        assert current_traceparent() == (header if span.get_span_context().is_valid else "")


def test_no_header_is_no_context() -> None:
    assert context_of("") is None
    assert current_traceparent() == ""


@pytest.mark.parametrize(
    ("sampler", "follows"),
    [
        (sampling.DEFAULT_ON, True),
        (sampling.ParentBasedTraceIdRatio(0.1), True),
        (sampling.ALWAYS_ON, False),
        (sampling.ParentBased(sampling.ALWAYS_ON, remote_parent_not_sampled=sampling.ALWAYS_ON), False),
    ],
)
def test_only_samplers_that_leave_it_to_the_caller_are_spared_the_question(
    monkeypatch: pytest.MonkeyPatch, sampler: sampling.Sampler, follows: bool
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: TracerProvider(sampler=sampler))
    assert sampling_follows_callers() is follows
