"""Traces from stored models: a small generator, and a language model here, over the mesh and behind the HTTP facade.

The language model is trained for seconds on source text. What it writes is no trace; that is told each time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.tom_verifier.conftest import CONTEXT, QUESTION, STORY
from probe.service_process import ServiceProcess

from assay.client.connection import Connection
from assay.client.errors import error_from_rpc
from assay.errors import AssayError, Cancelled, InvalidInput, NotFound, Unauthenticated
from assay.tom_verifier.v1 import sampling_pb2, stories_pb2, traces_pb2, verifier_pb2

ASKED = stories_pb2.AskedQuestion(text=QUESTION)
KEY = "a-key-of-the-tests"


def request(samples: int, **fields: Any) -> sampling_pb2.SampleTracesRequest:
    return sampling_pb2.SampleTracesRequest(story=STORY, question=ASKED, samples=samples, **fields)


def refusal(stub: Any, asked: Any, timeout: float = 60) -> AssayError:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.SampleTraces(asked, timeout=timeout))
    return error_from_rpc(caught.value)


def told(replies: list[sampling_pb2.SampleTracesResponse], count: int) -> list[str]:
    """The texts, each of them no trace, with the reason."""
    assert [reply.index for reply in replies] == list(range(count))
    for reply in replies:
        assert not reply.HasField("trace")
        assert reply.refused
        assert reply.cut
    return [reply.text for reply in replies]


def test_a_small_generator_writes_traces_that_a_verifier_scores(
    connection: Connection, stub: Any, trained: Any
) -> None:
    generator = sampling_pb2.TraceGenerator(artifact=trained.generator)
    replies = list(stub.SampleTraces(request(100, generator=generator, seed=5)))
    fewer = list(stub.SampleTraces(request(70, generator=generator, seed=5)))
    others = list(stub.SampleTraces(request(70, generator=generator, seed=6)))
    assert replies[:70] == fewer != others
    traces = [reply.text for reply in replies]
    assert all(reply.HasField("trace") and len(reply.trace.steps) == 10 for reply in replies)
    assert len(set(traces)) > 10
    scored = connection.call(
        stub.ScoreTraces,
        verifier_pb2.ScoreTracesRequest(
            verifier=trained.verifier,
            candidates=verifier_pb2.CandidateSet(
                story=STORY,
                question=ASKED,
                traces=[traces_pb2.GivenTrace(text=text) for text in traces],
            ),
        ),
    )
    assert len(scored.scores) == 100
    assert {one.answer for one in scored.scores} <= {"red_box", "blue_crate", "green_drawer", "Null"}


@pytest.mark.slow
def test_a_language_model_writes_the_same_here_and_over_the_mesh(
    stub: Any, store: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = sampling_pb2.TraceGenerator(artifact=model)
    asked = request(18, generator=generator, seed=3, max_tokens=12, temperature=0.8)
    here = told(list(stub.SampleTraces(asked)), 18)
    assert len(set(here)) > 10
    served = ServiceProcess("inference_optimizer", store)
    try:
        monkeypatch.setenv("ASSAY_INFERENCE_OPTIMIZER_ENDPOINT", served.address)
        assert told(list(stub.SampleTraces(asked)), 18) == here
        greedy = request(2, generator=generator, max_tokens=12, temperature=0)
        first, second = told(list(stub.SampleTraces(greedy)), 2)
        assert first == second
        call = stub.SampleTraces(request(64, generator=generator, max_tokens=2048))
        threading.Timer(0.5, call.cancel).start()
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert isinstance(error_from_rpc(caught.value), Cancelled)
    finally:
        served.stop()


def test_a_story_that_a_model_cannot_hold_is_named(stub: Any, model: str) -> None:
    generator = sampling_pb2.TraceGenerator(artifact=model)
    found = refusal(stub, request(1, generator=generator, max_tokens=CONTEXT))
    assert isinstance(found, InvalidInput)
    assert found.violations[0].field == "story"
    assert f"reads {CONTEXT}" in found.message


def test_a_generator_that_is_none_is_named(stub: Any, trained: Any) -> None:
    for artifact, error in ((trained.verifier, InvalidInput), ("no-such-label", NotFound)):
        found = refusal(stub, request(1, generator=sampling_pb2.TraceGenerator(artifact=artifact)))
        assert type(found) is error, found
    greedy = request(1, generator=sampling_pb2.TraceGenerator(artifact=trained.generator), temperature=0)
    found = refusal(stub, greedy)
    assert isinstance(found, InvalidInput)
    assert found.violations[0].field == "temperature"


@pytest.fixture(scope="module")
def facade(store: str, model: str) -> Iterator[str]:
    """URL of `assay inference-optimizer serve` in a process of its own."""
    environment = {**os.environ, "ASSAY_STORE": store, "ASSAY_OPENAI_API_KEY": KEY}
    environment.pop("ASSAY_ENDPOINT", None)
    command = [Path(sys.executable).with_name("assay"), "inference-optimizer", "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", process.stdout.readline())
    assert found, process.stderr.read() if process.stderr else ""
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield found.group()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)


def test_the_platforms_own_http_facade_is_a_hosted_model(
    stub: Any, facade: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_GENERATOR_URL", facade)
    monkeypatch.setenv("ASSAY_GENERATOR_KEY", KEY)
    generator = sampling_pb2.TraceGenerator(hosted=model)
    asked = request(6, generator=generator, seed=3, max_tokens=12, temperature=0.8)
    texts = told(list(stub.SampleTraces(asked)), 6)
    assert len(set(texts)) > 1
    assert told(list(stub.SampleTraces(asked)), 6) == texts
    unknown = refusal(stub, request(1, generator=sampling_pb2.TraceGenerator(hosted="no-such-model")))
    assert isinstance(unknown, NotFound), unknown
    long = refusal(stub, request(1, generator=generator, max_tokens=CONTEXT))
    assert isinstance(long, InvalidInput), long
    assert str(CONTEXT) in long.message
    monkeypatch.setenv("ASSAY_GENERATOR_KEY", "another")
    assert isinstance(refusal(stub, asked), Unauthenticated)
