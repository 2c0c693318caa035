"""Traces from a hosted model, over real sockets: good ones, texts that are none, and everything that goes wrong."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY
from contract.tom_verifier.scripted_endpoint import HANG, Reply, scripted_endpoint

from assay.client.errors import error_from_rpc
from assay.errors import (
    AssayError,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from assay.models.language_model import prompt_seeds
from assay.tom_verifier.v1 import sampling_pb2, stories_pb2

KEY = "sk-a-key-of-the-tests"
ASKED = stories_pb2.AskedQuestion(text=QUESTION)


def trace(claims: tuple[str, ...]) -> str:
    steps = "".join(f"## Step {number} ##\nso [{claim}]\n" for number, claim in enumerate(claims, 1))
    return f"{steps}Final Answer: [{claims[-1]}]"


RIGHT, WRONG = trace(CLAIMS), trace((*CLAIMS[:4], *["green_drawer"] * 6))
TEXTS = [
    (RIGHT, ""),
    (f"<think>## Step 1 ## hm [x]\n## Step 1 ##</think>Here it is.\n{WRONG}", ""),
    ("I would say the blue crate.", "has no steps"),
    (trace(CLAIMS[:7]), "has 7 steps for 10 lines"),
    (RIGHT.replace("## Step 4 ##", "## Step 5 ##"), "has step 5 where step 4 comes next"),
    (RIGHT.replace("so [red_box]", "so it is there"), "claims nothing in step 2"),
    ("", "has no steps"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_GENERATOR_KEY", KEY)


def request(samples: int = 1, **others: Any) -> sampling_pb2.SampleTracesRequest:
    generator = sampling_pb2.TraceGenerator(hosted="a-model")
    return sampling_pb2.SampleTracesRequest(generator=generator, story=STORY, question=ASKED, samples=samples, **others)


def refusal(stub: Any, asked: Any, timeout: float = 60) -> AssayError:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.SampleTraces(asked, timeout=timeout))
    return error_from_rpc(caught.value)


def text_of(seed: int) -> str:
    return TEXTS[seed % len(TEXTS)][0]


def test_every_text_comes_back_as_a_trace_or_with_the_reason_why_it_is_none(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_endpoint(lambda body: Reply.chat(text_of(body["seed"]))) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        asked = request(40, seed=7, temperature=0.25, max_tokens=900)
        replies = list(stub.SampleTraces(asked))
        fewer = list(stub.SampleTraces(request(5, seed=7, temperature=0.25, max_tokens=900)))
    body = endpoint.asked[0]
    (prompt,) = (message["content"] for message in body["messages"])
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("a-model", 0.25, 900)
    assert f"3 {STORY.splitlines()[2].removeprefix('3 ')}\n" in prompt
    assert prompt.endswith(f"Question: {QUESTION}\nTrace:\n")
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    assert set(endpoint.paths) == {"/v1/chat/completions"}
    seeds = [seed % 2**31 for seed in prompt_seeds([prompt] * 40, 7)]
    assert sorted(one["seed"] for one in endpoint.asked[:40]) == sorted(seeds)
    assert [reply.index for reply in replies] == list(range(40))
    assert {seed % len(TEXTS) for seed in seeds} == set(range(len(TEXTS)))
    for seed, reply in zip(seeds, replies, strict=True):
        text, refused = TEXTS[seed % len(TEXTS)]
        assert reply.text == text
        assert reply.refused.startswith(refused)
        assert bool(reply.refused) == bool(refused) != reply.HasField("trace")
        if not refused:
            assert len(reply.trace.steps) == 10
            assert reply.trace.answer in ("blue_crate", "green_drawer")
    assert fewer == replies[:5]


def test_a_trace_that_is_cut_is_told_so(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_endpoint(lambda body: Reply.chat(RIGHT[:150], "length")) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        (reply,) = stub.SampleTraces(request())
    assert reply.cut
    assert reply.refused == "has 6 steps for 10 lines, cut off at the token limit"


def test_what_is_too_busy_is_asked_again(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [
            Reply.error(429, "slow down", Retry_After="0"),
            Reply.error(503, "loading", Retry_After="0"),
            Reply.chat(RIGHT),
        ]
    )
    with scripted_endpoint(lambda body: next(answers)) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        (reply,) = stub.SampleTraces(request())
    assert reply.HasField("trace")
    assert len(endpoint.asked) == 3
    assert endpoint.asked[0] == endpoint.asked[2]


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Reply.error(401, f"Incorrect API key provided: {KEY}"), Unauthenticated, "ASSAY_GENERATOR_KEY"),
        (Reply.error(403, "no"), PermissionDenied, "ASSAY_GENERATOR_KEY"),
        (Reply.error(404, "no such model"), NotFound, "'a-model'"),
        (Reply.error(400, f"max_tokens is too\nlarge for {KEY}"), InvalidInput, "max_tokens is too large for ***"),
        (Reply.error(429, "quota", Retry_After="0"), ResourceExhausted, "quota"),
        (Reply.error(500, "oops", Retry_After="0"), Unavailable, "status 500"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/v1/chat/completions"}), FailedPrecondition, "elsewhere"),
        (Reply(200, b"<html>"), FailedPrecondition, "something else than"),
        (Reply(200, b'{"choices": []}'), FailedPrecondition, "something else than"),
        (Reply(200, b'{"choices": [{"message": "x"}]}'), FailedPrecondition, "something else than"),
        (Reply(200, b"[" * 100_000), FailedPrecondition, "something else than"),
        (Reply(200, b" " * (2**20 + 1)), FailedPrecondition, "lower max_tokens"),
    ],
)
def test_what_the_endpoint_refuses_is_told_and_the_key_is_not(
    stub: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: Reply,
    error: type[AssayError],
    told: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted_endpoint(lambda body: answer) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        found = refusal(stub, request())
    assert type(found) is error, found
    assert told in found.message
    assert KEY not in repr(found) + found.message + caplog.text


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", FailedPrecondition),
        ("ftp://127.0.0.1/v1", InvalidInput),
        ("file:///etc/passwd", InvalidInput),
        ("http://somebody:secret@127.0.0.1/v1", InvalidInput),
        ("http://127.0.0.1/v1?key=secret", InvalidInput),
        ("http://[::1/v1", InvalidInput),
        ("http://127.0.0.1:9/v1", Unavailable),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_named(
    stub: Any, monkeypatch: pytest.MonkeyPatch, url: str, error: type[AssayError]
) -> None:
    monkeypatch.setenv("ASSAY_GENERATOR_URL", url)
    found = refusal(stub, request())
    assert type(found) is error, found
    assert "ASSAY_GENERATOR_URL" in found.message
    assert "secret" not in found.message


def test_a_key_of_two_lines_is_refused_without_being_told(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_GENERATOR_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("ASSAY_GENERATOR_KEY", f"{KEY}\r\nX-Other: 1")
    found = refusal(stub, request())
    assert isinstance(found, InvalidInput)
    assert "ASSAY_GENERATOR_KEY" in found.message
    assert KEY not in found.message


def test_an_endpoint_that_hangs_is_left_at_the_deadline_and_at_a_cancel(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_endpoint(lambda body: HANG) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        assert isinstance(refusal(stub, request(3), timeout=0.5), DeadlineExceeded)
        assert endpoint.gone.wait(10)
        endpoint.gone.clear()
        asked = len(endpoint.asked)
        call = stub.SampleTraces(request(3))
        while len(endpoint.asked) == asked:
            pass
        call.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert isinstance(error_from_rpc(caught.value), Cancelled)
        assert endpoint.gone.wait(10)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"samples": 1025}, "samples"),
        ({"samples": -1}, "samples"),
        ({"max_tokens": 20_000}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"story": ""}, "story"),
        ({"generator": sampling_pb2.TraceGenerator()}, "generator"),
        ({"generator": sampling_pb2.TraceGenerator(hosted="x" * 201)}, "generator.hosted"),
        ({"question": stories_pb2.AskedQuestion(text="Who is it?")}, "question"),
    ],
)
def test_bad_input_is_named(stub: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], named: str) -> None:
    monkeypatch.setenv("ASSAY_GENERATOR_URL", "http://127.0.0.1:9/v1")
    asked: dict[str, Any] = {"samples": 1, "story": STORY, "question": ASKED, **fields}
    asked.setdefault("generator", sampling_pb2.TraceGenerator(hosted="a-model"))
    found = refusal(stub, sampling_pb2.SampleTracesRequest(**asked))
    assert isinstance(found, InvalidInput), found
    assert found.violations[0].field == named
