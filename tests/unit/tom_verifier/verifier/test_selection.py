"""Scores of steps become one of a trace, and traces one answer: sums done by hand."""

from __future__ import annotations

import pytest
import torch

from assay.errors import InvalidInput
from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.controls import oracle, selected, shuffled, single, subsampled
from assay_tom_verifier.core.verifier.select import Selection, select, select_all

LAST, MIN, MEAN, PROD = Aggregation.LAST, Aggregation.MIN, Aggregation.MEAN, Aggregation.PROD
VANILLA, WEIGHTED, MAJORITY = Selection.VANILLA, Selection.WEIGHTED, Selection.MAJORITY


@pytest.mark.parametrize(("how", "expected"), [(LAST, 0.5), (MIN, 0.4), (MEAN, 0.6), (PROD, 0.18)])
def test_aggregation_of_three_steps(how, expected):
    # 0.9 * 0.4 * 0.5 = 0.18; (0.9 + 0.4 + 0.5) / 3 = 0.6
    assert aggregate(torch.tensor([0.9, 0.4, 0.5]), how).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("how", "expected"), [(LAST, 0.4), (MIN, 0.4), (MEAN, 0.65), (PROD, 0.36)])
def test_steps_behind_a_short_trace_do_not_count(how, expected):
    scores = torch.tensor([[0.9, 0.4, 0.0], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert aggregate(scores, how, mask).tolist() == pytest.approx([expected, 1.0])


def test_a_product_of_many_small_scores_does_not_vanish():
    # 0.01^150 = 1e-300; in float32 it would be 0 after 23 steps, and the order of traces would be lost.
    assert aggregate(torch.full((150,), 0.01, dtype=torch.float64), PROD).item() == pytest.approx(1e-300, rel=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.1])
def test_scores_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(InvalidInput, match="scores"):
        aggregate(torch.tensor([0.5, bad]), MEAN)
    with pytest.raises(InvalidInput, match="scores"):
        select(["a", "b"], [0.5, bad], VANILLA)


def test_a_trace_without_steps_is_refused():
    with pytest.raises(InvalidInput, match="missing"):
        aggregate(torch.empty(2, 0), MIN)


def test_the_three_selections_can_disagree():
    # best single trace: c at 0.9; sums: a 0.4, b 1.0, c 0.9; heads: a 3, b 2, c 1
    answers = ["a", "a", "a", "b", "b", "c"]
    scores = [0.1, 0.1, 0.2, 0.5, 0.5, 0.9]
    assert [select(answers, scores, how).answer for how in (VANILLA, WEIGHTED, MAJORITY)] == ["c", "b", "a"]
    weights = [(each.answer, each.weight, each.votes) for each in select(answers, scores, WEIGHTED).weights]
    assert weights == [("b", 1.0, 2), ("c", 0.9, 1), ("a", pytest.approx(0.4), 3)]
    assert select(answers, scores, MAJORITY).trace == 2  # a's best


def test_ties_go_to_what_came_first():
    assert select(["b", "a", "a", "b"], [0.25] * 4, MAJORITY).answer == "b"
    assert select(["b", "a", "a", "b"], [0.25] * 4, WEIGHTED).answer == "b"
    assert select(["b", "a"], [0.5, 0.5], VANILLA).answer == "b"


@pytest.mark.parametrize("how", list(Selection))
def test_many_questions_at_once_are_answered_as_one_by_one(how):
    generator = torch.Generator().manual_seed(3)
    for n in (1, 5, 16, 40):  # more than 32 traces are counted another way
        answers = torch.randint(0, 4, (50, n), generator=generator)
        scores = torch.randint(0, 5, (50, n), generator=generator) / 4  # quarters: plenty of exact ties
        alone = [select(a.tolist(), s.tolist(), how).answer for a, s in zip(answers, scores, strict=True)]
        assert select_all(answers, scores, how).tolist() == alone


def test_no_traces_and_unequal_lengths_are_refused():
    with pytest.raises(InvalidInput, match="traces"):
        select([], [], MAJORITY)
    with pytest.raises(InvalidInput, match="scores"):
        select(["a"], [0.1, 0.2], MAJORITY)


def test_controls_by_hand():
    answers = torch.tensor([[1, 1, 2, 3], [4, 5, 5, 5]])
    right = torch.tensor([2, 4])
    assert single(answers, right).tolist() == [0.25, 0.25]
    assert oracle(answers, right).tolist() == [1.0, 1.0]
    scores = torch.tensor([[0.1, 0.1, 0.9, 0.1], [0.9, 0.1, 0.1, 0.1]])
    assert selected(answers, right, scores, VANILLA).tolist() == [1.0, 1.0]
    assert selected(answers, right, scores, MAJORITY).tolist() == [0.0, 0.0]


def test_dealing_scores_anew_leaves_a_single_trace_s_accuracy():
    # The one trace with the high score is then a random one: 1 in 4. Over 400 x 100 deals the error is 0.2 points.
    answers = torch.tensor([[1, 1, 2, 3]]).repeat(400, 1)
    scores = torch.tensor([[0.1, 0.1, 0.9, 0.1]]).repeat(400, 1)
    right = torch.full((400,), 2)
    assert selected(answers, right, scores, VANILLA).mean().item() == 1.0
    assert shuffled(answers, right, scores, VANILLA, seed=0).mean().item() == pytest.approx(0.25, abs=0.01)


def test_subsamples_are_drawn_without_replacement():
    answers = torch.tensor([[0, 1, 2, 3]])
    found = subsampled(answers, torch.tensor([2]), torch.tensor([[0.1, 0.2, 0.9, 0.3]]), VANILLA, 4, 20, seed=1)
    assert found.tolist() == [[1.0]] * 20  # all four, in any order, hold the best
