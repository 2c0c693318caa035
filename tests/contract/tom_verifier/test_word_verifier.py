"""A verifier that reads words, over a real socket: it scores stories that the parser refuses."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY

from assay.client.connection import Connection
from assay.errors import InvalidInput
from assay.tom_verifier.v1 import stories_pb2, traces_pb2, verifier_pb2
from assay_tom_verifier.core.stories.paraphrase import paraphrase_story
from assay_tom_verifier.core.stories.parse import parse_story

ASKED = stories_pb2.AskedQuestion(text=QUESTION)
TOLD = paraphrase_story(parse_story(STORY).story, 1)
WRONG = (*CLAIMS[:4], "green_drawer", *CLAIMS[5:])
Scores = Callable[..., list[list[float]]]


@pytest.fixture(scope="module")
def reading(connection: Connection, stub: Any) -> verifier_pb2.TrainPbmResult:
    """Seconds of training: enough to be asked, not for figures."""
    request = verifier_pb2.TrainPbmRequest(
        request_id=str(uuid.uuid4()),
        steps=15,
        generator_steps=15,
        batch=8,
        seed=3,
        reading=verifier_pb2.LINE_READING_WORDS,
    )
    return connection.run(stub.TrainPbm, request, verifier_pb2.TrainPbmResult)


@pytest.fixture
def scores(connection: Connection, stub: Any) -> Scores:
    def ask(verifier: str, story: str, *traces: tuple[str, ...], said: str = "") -> list[list[float]]:
        given = [
            traces_pb2.GivenTrace(
                trace=traces_pb2.Trace(steps=[traces_pb2.TraceStep(text=said, claim=claim) for claim in claims])
            )
            for claims in traces
        ]
        candidates = verifier_pb2.CandidateSet(story=story, question=ASKED, traces=given)
        request = verifier_pb2.ScoreTracesRequest(verifier=verifier, candidates=candidates)
        return [list(found.step_scores) for found in connection.call(stub.ScoreTraces, request).scores]

    return ask


def test_its_training_says_how_good_it_is_on_unseen_stories(reading: Any) -> None:
    assert reading.quality.questions == 400
    assert 0 <= reading.quality.auc <= 1
    for row in reading.quality.selections:
        assert row.oracle >= max(row.verifier, row.majority)


def test_it_scores_a_story_that_the_parser_refuses(scores: Scores, reading: Any, trained: Any) -> None:
    right, wrong, short = scores(reading.verifier, TOLD, CLAIMS, WRONG, CLAIMS[:5])
    assert [len(right), len(wrong), len(short)] == [10, 10, 5]
    assert right[:4] == pytest.approx(wrong[:4], abs=1e-6)
    assert right[:5] == pytest.approx(short, abs=1e-6)
    assert right[4:] != pytest.approx(wrong[4:], abs=1e-6)
    spelled = tuple(claim.replace("_", " ").upper() for claim in CLAIMS)
    assert scores(reading.verifier, TOLD, spelled) == [pytest.approx(right, abs=1e-9)]
    assert scores(reading.verifier, TOLD, WRONG, said="+ + Final Answer: [x]") == [pytest.approx(wrong, abs=1e-9)]
    with pytest.raises(InvalidInput, match="line 1"):
        scores(trained.verifier, TOLD, CLAIMS)


def test_the_published_sentences_are_words_too(scores: Scores, reading: Any) -> None:
    (published,), (told,) = scores(reading.verifier, STORY, CLAIMS), scores(reading.verifier, TOLD, CLAIMS)
    assert len(published) == len(told) == 10
    assert published != pytest.approx(told, abs=1e-6)


def test_beams_grow_over_a_story_that_nobody_parsed(
    connection: Connection, stub: Any, reading: Any, trained: Any
) -> None:
    def search(verifier: str, generator: str, story: str) -> Any:
        request = verifier_pb2.BeamSearchRequest(
            verifier=verifier, generator=generator, story=story, question=ASKED, seed=5
        )
        return connection.call(stub.BeamSearch, request)

    found = search(reading.verifier, reading.generator, TOLD)
    assert len(found.trace.steps) == len(found.score.step_scores) == 10
    assert found.answer in {"red_box", "blue_crate", "green_drawer", "Null"}
    assert TOLD.splitlines()[2][2:] in found.trace.steps[2].text
    # Whoever needs a parser needs one whatever the other reads.
    assert len(search(reading.verifier, trained.generator, STORY).trace.steps) == 10
    with pytest.raises(InvalidInput, match="line 1"):
        search(reading.verifier, trained.generator, TOLD)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"reading": 99}, "reading"),
        ({"reading": verifier_pb2.LINE_READING_WORDS, "base": "some-model"}, "reading"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused(
    connection: Connection, stub: Any, asked: dict[str, Any], field: str
) -> None:
    request = verifier_pb2.TrainPbmRequest(request_id=str(uuid.uuid4()), **asked)
    with pytest.raises(InvalidInput) as refused:
        connection.call(stub.TrainPbm, request)
    assert refused.value.violations[0].field == field
