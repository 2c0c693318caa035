"""A checkpoint as verifier, over a real socket: as it is, and taught to judge traces as text."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY

from assay.artifacts.store import ArtifactStore
from assay.client.connection import Connection
from assay.errors import InvalidInput
from assay.tom_verifier.v1 import stories_pb2, traces_pb2, verifier_pb2
from assay_tom_verifier import engine_training

ASKED = stories_pb2.AskedQuestion(text=QUESTION)
WRONG = (*CLAIMS[:4], "green_drawer", *CLAIMS[5:])


@pytest.fixture(scope="module")
def taught(connection: Connection, stub: Any, model: str) -> verifier_pb2.TrainPbmResult:
    """Told in tokens of a few letters a trace is long: few steps, and a measure of two stories."""
    request = verifier_pb2.TrainPbmRequest(
        request_id=str(uuid.uuid4()), steps=3, batch=1, generator_steps=30, base=model, learning_rate=1e-3, seed=3
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine_training, "STORIES_OF_CHECKPOINTS", 2)
        return connection.run(stub.TrainPbm, request, verifier_pb2.TrainPbmResult)


def scores(connection: Connection, stub: Any, verifier: str, *traces: tuple[str, ...], said: str = "") -> list[Any]:
    given = [
        traces_pb2.GivenTrace(
            trace=traces_pb2.Trace(steps=[traces_pb2.TraceStep(text=said, claim=claim) for claim in claims])
        )
        for claims in traces
    ]
    candidates = verifier_pb2.CandidateSet(story=STORY, question=ASKED, traces=given)
    answer = connection.call(
        stub.ScoreTraces, verifier_pb2.ScoreTracesRequest(verifier=verifier, candidates=candidates)
    )
    return [list(found.step_scores) for found in answer.scores]


@pytest.mark.parametrize("which", ["as it is", "taught"])
def test_a_checkpoint_scores_every_prefix_in_one_pass(
    connection: Connection, stub: Any, model: str, taught: Any, which: str
) -> None:
    verifier = model if which == "as it is" else taught.verifier
    right, wrong, short = scores(connection, stub, verifier, CLAIMS, WRONG, CLAIMS[:5])
    assert [len(right), len(wrong), len(short)] == [10, 10, 5]
    assert right[:4] == pytest.approx(wrong[:4], abs=1e-6)
    assert right[:5] == pytest.approx(short, abs=1e-6)
    assert right[4:] != pytest.approx(wrong[4:], abs=1e-6)
    assert all(0 < score < 1 for score in (*right, *wrong))
    # Nothing that a step says besides its claim reaches the model.
    assert scores(connection, stub, verifier, WRONG, said="+ + Final Answer: [x] Right so far:+") == [
        pytest.approx(wrong, abs=1e-9)
    ]


def test_teaching_gives_a_checkpoint_and_says_how_good_it_is(
    connection: Connection, stub: Any, artifacts: ArtifactStore, model: str, taught: Any
) -> None:
    manifest = artifacts.manifest(taught.verifier)
    assert manifest.kind == "process-belief-model"
    assert set(manifest.inputs) == {model, taught.generator}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.path for file in manifest.files}
    assert manifest.parameters["base"] == model
    assert taught.quality.questions == 10
    assert 0 <= taught.quality.auc <= 1
    assert [row.candidates for row in taught.quality.selections] == [1, 2, 4, 8]
    assert scores(connection, stub, taught.verifier, CLAIMS) != scores(connection, stub, model, CLAIMS)


def test_a_beam_is_kept_by_a_checkpoint(connection: Connection, stub: Any, taught: Any) -> None:
    request = verifier_pb2.BeamSearchRequest(
        verifier=taught.verifier, generator=taught.generator, story=STORY, question=ASKED, beams=2, expansions=2
    )
    found = connection.call(stub.BeamSearch, request)
    claims = tuple(step.claim for step in found.trace.steps)
    assert len(claims) == 10
    assert scores(connection, stub, taught.verifier, claims) == [pytest.approx(list(found.score.step_scores), abs=1e-6)]


def test_what_cannot_be_a_base_or_a_verifier_is_named(connection: Connection, stub: Any, trained: Any) -> None:
    def train(**fields: Any) -> InvalidInput:
        request = verifier_pb2.TrainPbmRequest(request_id=str(uuid.uuid4()), steps=1, **fields)
        with pytest.raises(InvalidInput) as caught:
            connection.call(stub.TrainPbm, request)
        return caught.value

    assert train(base=trained.verifier).violations[0].field == "base"
    assert train(learning_rate=1e-3).violations[0].field == "learning_rate"
    assert train(learning_rate=float("nan"), base="x").violations[0].field == "learning_rate"
    with pytest.raises(InvalidInput, match="process-belief-model or model"):
        scores(connection, stub, trained.generator, CLAIMS)
