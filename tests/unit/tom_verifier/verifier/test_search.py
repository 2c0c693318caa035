"""Beam search, and answers of a verifier by itself."""

from __future__ import annotations

import itertools

import pytest
from unit.tom_verifier.verifier.parts import QUESTION, RIGHT, STORY, network

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay_tom_verifier.core.verifier.aggregate import Aggregation
from assay_tom_verifier.core.verifier.beam_search import beam_search
from assay_tom_verifier.core.verifier.network_search import NetworkProposer, NetworkScorer
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, rows_at_once
from assay_tom_verifier.core.verifier.solver import solve
from assay_tom_verifier.core.verifier.streams import StorySource


class Cycling:
    """Proposes containers in turn, so that every one is proposed at each step."""

    def __init__(self, names):
        self.names, self.asked = names, 0

    def propose(self, prefixes, count, cancel):
        self.asked += count * len(prefixes)
        return [[self.names[index % len(self.names)] for index in range(count)] for _ in prefixes]


class Exact:
    """Knows the right beliefs: 1 for a right step, a tenth for another, so that slips can be made up for by MEAN."""

    def score_prefixes(self, prefixes, cancel):
        return [[1.0 if a == b else 0.1 for a, b in zip(claims, RIGHT, strict=False)] for claims in prefixes]


NAMES = [None, "red_box", "blue_crate", "green_bottle"]


@pytest.mark.parametrize("how", list(Aggregation))
def test_a_perfect_judge_finds_the_right_trace(how):
    # At each step all four claims are on offer; drawn blindly, a trace is right once in 4^10.
    proposer = Cycling(NAMES)
    found = beam_search(proposer, Exact(), len(RIGHT), n=8, beams=2, how=how, cancel=CancelToken())
    assert list(found[0].claims) == RIGHT
    assert found[0].scores == (1.0,) * 10
    assert len({beam.claims for beam in found}) == len(found) == 2
    assert proposer.asked == 8 * 10


@pytest.mark.parametrize(
    ("n", "beams", "steps", "field"), [(0, 1, 1, "n"), (1025, 1, 1, "n"), (8, 3, 1, "beams"), (8, 2, 0, "steps")]
)
def test_impossible_searches_name_their_field(n, beams, steps, field):
    with pytest.raises(InvalidInput, match=field):
        beam_search(Cycling(NAMES), Exact(), steps, n=n, beams=beams, how=Aggregation.MIN, cancel=CancelToken())


def test_search_stops_when_cancelled():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        beam_search(Cycling(NAMES), Exact(), 3, n=4, beams=2, how=Aggregation.MIN, cancel=token)


class Reads:
    """How many traces a network reads in each pass; cancels `token` after so many passes."""

    def __init__(self, model, monkeypatch, token=None, cancel_after=None):
        self.rows, read_on = [], model.read_on

        def counted(lines, claims):
            self.rows.append(len(claims))
            if len(self.rows) == cancel_after:
                token.cancel()
            return read_on(lines, claims)

        monkeypatch.setattr(model, "read_on", counted)


def test_prefixes_are_read_in_parts_between_looks_at_the_caller(monkeypatch):
    model, token = network(1), CancelToken()
    reads = Reads(model, monkeypatch, token, cancel_after=2)
    prefixes = [(None, *claims, "red_box") for claims in itertools.product(NAMES, repeat=5)]
    proposer = NetworkProposer(model, STORY, QUESTION, seed=0)
    with pytest.raises(Cancelled):
        proposer.propose(prefixes, 1, token)
    assert reads.rows == [rows_at_once(8)] * 2
    proposer = NetworkProposer(model, STORY, QUESTION, seed=0)
    assert [len(drawn) for drawn in proposer.propose(prefixes, 3, CancelToken())] == [3] * 1024
    assert sum(reads.rows[2:]) == 1024


def test_claims_are_counted_as_they_are_drawn():
    proposer, told = NetworkProposer(network(1), STORY, QUESTION, seed=0), []
    propose = proposer.propose

    class Counted:
        def propose(self, prefixes, count, cancel):
            found = propose(prefixes, count, cancel)
            told.append(sum(map(len, found)))
            return found

    scorer = NetworkScorer(ProcessBeliefModel(network(2)), STORY, QUESTION)
    beam_search(Counted(), scorer, len(RIGHT), n=7, beams=7, how=Aggregation.PROD, cancel=CancelToken())
    # Four claims are possible, so that seven are never dealt evenly to what was kept of the first step.
    assert told[0] == 7
    assert told[1] < 7
    assert proposer.drawn == sum(told)


def test_networks_search_1024_wide_within_a_story():
    proposer = NetworkProposer(network(1), STORY, QUESTION, seed=0)
    scorer = NetworkScorer(ProcessBeliefModel(network(2)), STORY, QUESTION)
    found = beam_search(
        proposer, scorer, len(STORY.lines), n=1024, beams=16, how=Aggregation.PROD, cancel=CancelToken()
    )
    assert len(found) == 16
    assert all(len(beam.claims) == 10 and set(beam.claims) <= {*NAMES} for beam in found)
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
    again = NetworkProposer(network(1), STORY, QUESTION, seed=0)
    assert found == beam_search(
        again, scorer, len(STORY.lines), n=1024, beams=16, how=Aggregation.PROD, cancel=CancelToken()
    )


def test_a_verifier_s_own_answer_is_the_best_scored_claim_at_each_step():
    verifier, questions = ProcessBeliefModel(network(2)), StorySource(4).questions(0, 2)
    answers = solve(verifier, questions)
    for row in range(len(questions)):
        options = questions.possible[row].nonzero().squeeze(1)
        step = int(questions.lengths[row]) - 1
        tried = answers[row].repeat(len(options), 1)
        tried[:, step] = options
        scores = verifier.score(questions.rows(answers.new_tensor([row])), tried[None, :, : step + 1])[0, :, step]
        assert options[scores.argmax()] == answers[row, step]
