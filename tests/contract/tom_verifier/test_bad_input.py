"""Every kind of bad input that the service is made to name, over a real socket."""

from __future__ import annotations

import math
import uuid
from typing import Any

import grpc
import pytest
from contract.tom_verifier.conftest import CLAIMS, MODEL, QUESTION, STORY

from assay.client.connection import Connection
from assay.errors import AssayError, InvalidInput, NotFound, OutOfRange, ResourceExhausted
from assay.tom_verifier.v1 import (
    epistemic_pb2,
    sampling_pb2,
    sensitivity_pb2,
    stories_pb2,
    traces_pb2,
    verifier_pb2,
)

ASKED = stories_pb2.AskedQuestion(text=QUESTION)
ABSENT = "sha256:" + "0" * 64


def chain(*agents: str) -> stories_pb2.BeliefChain:
    return stories_pb2.BeliefChain(agents=agents)


def asked_of(thing: str, *agents: str) -> stories_pb2.AskedQuestion:
    return stories_pb2.AskedQuestion(question=stories_pb2.Question(thing=thing, chain=chain(*agents)))


def refused(connection: Connection, method: Any, request: Any, error: type[AssayError], said: str) -> AssayError:
    with pytest.raises(error, match=said) as caught:
        connection.call(method, request)
    return caught.value


def refused_stream(method: Any, request: Any, code: grpc.StatusCode, said: str) -> None:
    with pytest.raises(grpc.RpcError, match=said) as caught:
        list(method(request))
    assert caught.value.code() is code


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Owen teleported the celery to the red_box.", 'line 4, "Owen teleported'),
        ("Bella moved the celery to the red_box.", "line 4.*Bella"),
        ("Owen exited the kitchen.", "line 4.*Owen exits the kitchen without being there"),
        ("Owen moved the carrot to the red_box.", "line 4.*carrot, which is nowhere yet"),
        ("Owen privately told Owen that the celery is in the red_box.", "line 4.*another listener"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_its_number(
    connection: Connection, stub: Any, line: str, said: str
) -> None:
    story = STORY.replace("4 Owen exited the hall.", f"4 {line}")
    refused(connection, stub.ParseStory, stories_pb2.ParseStoryRequest(story=story), InvalidInput, said)
    request = stories_pb2.AnswerQuestionRequest(story=story, question=ASKED)
    refused(connection, stub.AnswerQuestion, request, InvalidInput, "line 4")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (stories_pb2.AskedQuestion(), "question: is empty"),
        (stories_pb2.AskedQuestion(text="What is love?"), "question: is none that is understood"),
        (asked_of("celery", "Bella"), "Bella never enters"),
        (asked_of("carrot", "Owen"), "carrot is nowhere"),
        (asked_of("", "Owen"), "question.question.thing"),
        (asked_of("celery", "Owen", "Owen"), "Owen"),
        (asked_of("celery", "Owen", "Ava", "Owen", "Ava", "Owen"), "order 5"),
        (stories_pb2.AskedQuestion(text="Where does Owen think Owen thinks the celery is?"), "twice in a row"),
    ],
)
def test_a_question_that_cannot_be_answered_is_named(
    connection: Connection, stub: Any, question: Any, said: str
) -> None:
    request = stories_pb2.AnswerQuestionRequest(story=STORY, question=question)
    refused(connection, stub.AnswerQuestion, request, InvalidInput, said)


@pytest.mark.parametrize("index", [-1, 10])
def test_a_step_that_is_not_there_is_out_of_range(connection: Connection, stub: Any, index: int) -> None:
    request = stories_pb2.AnswerQuestionRequest(story=STORY, question=ASKED, step_index=index)
    refused(connection, stub.AnswerQuestion, request, OutOfRange, "counted 0 to 9")


def test_amounts_are_bounded(connection: Connection, stub: Any) -> None:
    long = STORY + "\nOwen likes the red_box." * 2000
    for method, request in (
        (stub.ParseStory, stories_pb2.ParseStoryRequest(story=long)),
        (stub.AnswerQuestion, stories_pb2.AnswerQuestionRequest(story=long, question=ASKED)),
    ):
        refused(connection, method, request, ResourceExhausted, "2,000 at most")
    drawn = stories_pb2.DrawStoryRequest(story=STORY + "\nOwen likes the red_box." * 191)
    refused(
        connection, stub.DrawStory, drawn, ResourceExhausted, "story: has 201 lines, 200 at most in a picture; draw"
    )
    crowd = "\n".join(f"Agent{number} entered the hall." for number in range(200))
    story = f"{crowd}\nThe celery is in the red_box."
    request = stories_pb2.SimulateRequest(story=story, max_order=4)
    refused_stream(stub.Simulate, request, grpc.StatusCode.RESOURCE_EXHAUSTED, "2,000,000 at most")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"count": 0}, "count"),
        ({"count": 100_001}, "count"),
        ({"count": 1, "length": 4}, "length"),
        ({"count": 1, "noise": 0.9}, "noise"),
        ({"count": 1, "noise": math.nan}, "noise"),
        ({"count": 1, "profile": 77}, "profile"),
    ],
)
def test_what_is_wrong_with_generation_is_named(stub: Any, fields: dict[str, Any], named: str) -> None:
    request = stories_pb2.GenerateStoriesRequest(**fields)
    refused_stream(stub.GenerateStories, request, grpc.StatusCode.INVALID_ARGUMENT, f"{named}: ")


def given(*claims: str) -> traces_pb2.GivenTrace:
    return traces_pb2.GivenTrace(trace=traces_pb2.Trace(steps=[traces_pb2.TraceStep(claim=claim) for claim in claims]))


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        (traces_pb2.GivenTrace(), "trace: is empty"),
        (traces_pb2.GivenTrace(text="I think it is in the box"), "has no steps"),
        (traces_pb2.GivenTrace(text="## Step 2 ##\nso [x]"), "step 2 where step 1 comes next"),
        (given(*CLAIMS, "red_box"), "11 steps for 10 lines"),
    ],
)
def test_a_trace_that_is_none_is_named(connection: Connection, stub: Any, trace: Any, said: str) -> None:
    request = traces_pb2.CheckTraceRequest(story=STORY, question=ASKED, trace=trace)
    refused(connection, stub.CheckTrace, request, InvalidInput, said)


def candidate(*scores: float) -> verifier_pb2.Candidate:
    return verifier_pb2.Candidate(answer="x", step_scores=scores)


@pytest.mark.parametrize(
    ("candidates", "error", "said"),
    [
        ([], InvalidInput, "candidates: are none"),
        ([candidate(0.5), candidate(0.5, math.nan)], InvalidInput, r"candidates\[1\]\.step_scores\[1\]"),
        ([candidate(1.5)], InvalidInput, r"candidates\[0\]\.step_scores\[0\]: is 1.5"),
        ([candidate(-0.1)], InvalidInput, "give 0 to 1"),
        ([candidate()], InvalidInput, "left out"),
        ([candidate(0.5)] * 4097, ResourceExhausted, "4,096 at most"),
    ],
)
def test_candidates_that_cannot_be_chosen_from_are_named(
    connection: Connection, stub: Any, candidates: Any, error: type[AssayError], said: str
) -> None:
    refused(connection, stub.SelectBest, verifier_pb2.SelectBestRequest(candidates=candidates), error, said)


def test_more_traces_than_may_be_and_verifiers_that_are_not(connection: Connection, stub: Any, trained: Any) -> None:
    def request(verifier: str, traces: int) -> verifier_pb2.ScoreTracesRequest:
        candidates = verifier_pb2.CandidateSet(story=STORY, question=ASKED, traces=[given("Null")] * traces)
        return verifier_pb2.ScoreTracesRequest(verifier=verifier, candidates=candidates)

    refused(connection, stub.ScoreTraces, request(trained.verifier, 0), InvalidInput, "are none")
    refused(connection, stub.ScoreTraces, request(trained.verifier, 4097), ResourceExhausted, "4,096 at most")
    refused(connection, stub.ScoreTraces, request("", 1), InvalidInput, "verifier: is empty")
    refused(connection, stub.ScoreTraces, request(ABSENT, 1), NotFound, "no artifact")
    refused(connection, stub.ScoreTraces, request(trained.generator, 1), InvalidInput, "process-belief-model")


@pytest.mark.parametrize("temperature", [1e-38, 9e-4, -1.0, math.inf, math.nan])
def test_a_temperature_that_no_odds_have_is_named(connection: Connection, stub: Any, temperature: float) -> None:
    beam = verifier_pb2.BeamSearchRequest(
        verifier=ABSENT, generator=ABSENT, story=STORY, question=ASKED, temperature=temperature
    )
    refused(connection, stub.BeamSearch, beam, InvalidInput, r"temperature: is .*at least 0\.001")
    sample = sampling_pb2.SampleTracesRequest(story=STORY, question=ASKED, temperature=temperature)
    sample.generator.artifact = ABSENT
    with pytest.raises(grpc.RpcError, match=r"temperature: is .*at least 0\.001") as caught:
        list(stub.SampleTraces(sample))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


DEEP = "(" * 5000 + "p" + ")" * 5000


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", InvalidInput, "text: is empty"),
        (MODEL + "claim \n", InvalidInput, "line 12"),
        (MODEL + "claim K[c] p\n", InvalidInput, "c"),
        (MODEL + "claim r\n", InvalidInput, "r"),
        (MODEL + f"claim {DEEP}\n", ResourceExhausted, "deep"),
        (MODEL + "claim " + "!" * 5000 + "p\n", ResourceExhausted, "deep"),
        (MODEL + "claim " + "K[a] " * 65 + "p\n", ResourceExhausted, "64"),
        (MODEL.replace("S5", "KD45").replace("{w0, w1} {w2}", "w0, w1 -> w0; w2 ->"), InvalidInput, "line"),
        (
            MODEL.replace("frame S5", "frame KD45").replace("a: {w0, w1} {w2}", "a: w0 -> w1; w1 -> w1"),
            InvalidInput,
            "line",
        ),
    ],
    ids=["empty", "empty claim", "agent", "atom", "brackets", "negations", "boxes", "syntax", "not serial"],
)
def test_texts_that_are_no_models_or_too_deep_are_named(
    connection: Connection, stub: Any, text: str, error: type[AssayError], said: str
) -> None:
    refused(connection, stub.ModelCheck, epistemic_pb2.ModelCheckRequest(text=text), error, said)


def test_worlds_are_counted_before_they_are_made(connection: Connection, stub: Any) -> None:
    example = epistemic_pb2.Example(name="muddy-children", n=60)
    request = epistemic_pb2.ModelCheckRequest(example=example)
    refused(connection, stub.ModelCheck, request, ResourceExhausted, "bdd")
    few = epistemic_pb2.ModelCheckRequest(text=MODEL + "claim p\n", max_worlds=2)
    refused(connection, stub.ModelCheck, few, ResourceExhausted, "cap")
    bdd = epistemic_pb2.ModelCheckRequest(text="x", max_worlds=1, backend=epistemic_pb2.EPISTEMIC_BACKEND_BDD)
    refused(connection, stub.ModelCheck, bdd, InvalidInput, "max_worlds: is of listed worlds")
    unknown = epistemic_pb2.ModelCheckRequest(example=epistemic_pb2.Example(name="sudoku"))
    refused(connection, stub.ModelCheck, unknown, InvalidInput, "muddy-children")


def test_decision_nodes_are_bounded(connection: Connection, stub: Any) -> None:
    pytest.importorskip("dd.cudd", reason="needs dd with CUDD: pip install 'assay-tom-verifier[symbolic]'")

    def equal(atoms: list[str]) -> epistemic_pb2.ModelCheckRequest:
        # x_i <-> y_i for all i: 3 nodes a pair where the two stand side by side in the order, 2^18 where far apart.
        law = " & ".join(f"(x{i} <-> y{i})" for i in range(18))
        text = f"structure\n  agents a\n  atoms {', '.join(atoms)}\n  law {law}\n  observes a: x0\nend\n"
        text += "claim K[a] !y0\n"
        return epistemic_pb2.ModelCheckRequest(text=text, backend=epistemic_pb2.EPISTEMIC_BACKEND_BDD)

    apart = [f"{side}{i}" for side in "xy" for i in range(18)]
    error = refused(connection, stub.ModelCheck, equal(apart), ResourceExhausted, "nodes.* over the cap of 250,000")
    assert error.reason == "TOO_MANY_NODES"
    beside = connection.call(stub.ModelCheck, equal([f"{side}{i}" for i in range(18) for side in "xy"]))
    assert [verdict.holds for verdict in beside.verdicts] == [True]
    assert beside.nodes < 10_000


@pytest.mark.parametrize(
    ("method", "request_", "error", "said"),
    [
        ("TrainPbm", verifier_pb2.TrainPbmRequest(steps=-1), InvalidInput, "steps"),
        ("TrainPbm", verifier_pb2.TrainPbmRequest(batch=513), InvalidInput, "batch: is 513; give 0 to 512"),
        ("ScanSensitivity", sensitivity_pb2.ScanSensitivityRequest(shares=[0.0]), InvalidInput, r"shares\[0\]"),
        ("ScanSensitivity", sensitivity_pb2.ScanSensitivityRequest(shares=[math.nan]), InvalidInput, r"shares\[0\]"),
        ("ScanSensitivity", sensitivity_pb2.ScanSensitivityRequest(model=ABSENT), NotFound, "no artifact"),
        ("PerturbAndEvaluate", sensitivity_pb2.PerturbAndEvaluateRequest(), InvalidInput, "masks"),
        ("AnalyzeRope", sensitivity_pb2.AnalyzeRopeRequest(), InvalidInput, "model: is empty"),
        ("ScanSensitivity", sensitivity_pb2.ScanSensitivityRequest(seed=2**53 + 1), InvalidInput, "seed: is 9,007"),
        (
            "PerturbAndEvaluate",
            sensitivity_pb2.PerturbAndEvaluateRequest(masks=[ABSENT], seed=2**53 + 1),
            InvalidInput,
            "seed: is 9,007",
        ),
        ("AnalyzeRope", sensitivity_pb2.AnalyzeRopeRequest(seed=2**64 - 1), InvalidInput, "seed: is 18,446"),
    ],
)
def test_long_methods_refuse_at_the_call(
    connection: Connection, stub: Any, method: str, request_: Any, error: type[AssayError], said: str
) -> None:
    request_.request_id = str(uuid.uuid4())
    refused(connection, getattr(stub, method), request_, error, said)


def test_training_is_the_same_operation_for_the_same_request(connection: Connection, stub: Any, trained: Any) -> None:
    request = verifier_pb2.TrainPbmRequest(request_id=str(uuid.uuid4()), steps=1, generator_steps=1, batch=1)
    first, again = (connection.call(stub.TrainPbm, request).operation.name for _ in range(2))
    assert first == again
    connection.stop(connection.call(stub.TrainPbm, request).operation)
