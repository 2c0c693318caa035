"""Calibration and separation against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import InvalidInput
from assay_tom_verifier.core.verifier.bootstrap import clustered_mean
from assay_tom_verifier.core.verifier.calibration import brier, brier_skill, reliability, risk_coverage
from assay_tom_verifier.core.verifier.first_error import StepRates, auc, grouped_auc, separation, until_first_error


def array(*values):
    return np.array(values, dtype=np.float64)


def flags(*values):
    return np.array(values, dtype=bool)


def test_calibration_error_by_hand():
    # bin [0, .5): scores .1, .3, none right: gap .2, weight 2; bin [.5, 1]: .7, .9, 1.0, two of three right.
    # mean .8667, share .6667: gap .2, weight 3. ECE = (2 * .2 + 3 * .2) / 5 = .2
    found = reliability(array(0.1, 0.3, 0.7, 0.9, 1.0), flags(0, 0, 1, 1, 0), bins=2)
    assert found.error == pytest.approx(0.2)
    assert found.counts.tolist() == [2, 3]
    assert found.shares.tolist() == pytest.approx([0.0, 2 / 3])


def test_an_empty_bin_has_no_share_and_no_weight():
    found = reliability(array(0.05, 0.05), flags(0, 0), bins=10)
    assert found.error == pytest.approx(0.05)
    assert np.isnan(found.shares[1:]).all()


def test_brier_and_skill_by_hand():
    scores, right = array(0.8, 0.6, 0.2, 0.4), flags(1, 1, 0, 0)
    assert brier(scores, right) == pytest.approx((0.04 + 0.16 + 0.04 + 0.16) / 4)
    assert brier_skill(scores, right) == pytest.approx(1 - 0.1 / 0.25)
    assert brier_skill(array(0.5, 0.5, 0.5, 0.5), right) == pytest.approx(0.0)


def test_skill_is_undefined_where_all_are_right():
    with pytest.raises(InvalidInput, match="skill is undefined"):
        brier_skill(array(0.5, 0.6), flags(1, 1))


def test_risk_falls_as_doubtful_answers_are_refused():
    found = risk_coverage(array(0.9, 0.8, 0.7, 0.1), flags(1, 1, 0, 0))
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0.0, 0.0, 1 / 3, 0.5])
    assert found.area == pytest.approx((1 / 3 + 0.5) / 4)


def test_equal_scores_share_their_risk():
    # Whichever of the two comes first in the list, a tie must not look like knowledge.
    assert risk_coverage(array(0.5, 0.5), flags(1, 0)).risk.tolist() == pytest.approx([0.5, 0.5])
    assert risk_coverage(array(0.5, 0.5), flags(0, 1)).risk.tolist() == pytest.approx([0.5, 0.5])


def test_auc_by_hand():
    # pairs (right, wrong): (.9, .5) won, (.9, .7) won, (.6, .5) won, (.6, .7) lost
    assert auc(array(0.9, 0.6, 0.5, 0.7), flags(1, 1, 0, 0)) == pytest.approx(0.75)
    assert auc(array(0.5, 0.5), flags(1, 0)) == pytest.approx(0.5)
    assert np.isnan(auc(array(0.5), flags(1)))


def test_pairs_stay_within_their_group():
    # Each group separates perfectly, across groups everything is upside down: pooled AUC would be .75
    scores, right = array(0.2, 0.1, 0.9, 0.8), flags(1, 0, 1, 0)
    assert grouped_auc(scores, right, np.array([0, 0, 1, 1])) == (1.0, 2, 2)
    assert auc(scores, right) == pytest.approx(0.75)


def test_steps_behind_the_first_error_are_left_out():
    correct = flags(1, 1, 0, 0, 0).reshape(1, 1, 5)
    assert until_first_error(correct).tolist() == [[[True, True, True, False, False]]]


def test_a_verifier_that_counts_steps_looks_good_until_the_step_is_held():
    # Prefix labels turn with the step's number. Scoring 1 - step / 4 says nothing of the trace.
    correct = flags(1, 1, 1, 1, 1, 1, 0, 0).reshape(1, 2, 4)
    scores = np.broadcast_to(1 - np.arange(4) / 4, (1, 2, 4)).copy()
    found = separation(scores, correct, np.ones((1, 1, 4), dtype=bool))
    assert found.naive == pytest.approx(10 / 12)  # against .5 wins 4 and ties 1 of 6, against .25 wins 5 and ties 1
    assert found.same_step == pytest.approx(0.5)


def test_rates_of_steps_and_orders():
    correct = flags(1, 0, 1, 1, 1, 0, 1, 1).reshape(2, 2, 2)  # orders 0 and 1
    mask = np.ones((2, 1, 2), dtype=bool)
    orders = np.array([0, 1])
    by_step = StepRates(correct, mask, orders, by_order=False).score((2, 1, 2), orders)
    assert by_step.tolist() == [[[1.0, 0.5]], [[1.0, 0.5]]]
    by_both = StepRates(correct, mask, orders, by_order=True).score((2, 1, 3), orders)
    assert by_both.tolist() == [[[1.0, 0.5, 0.75]], [[1.0, 0.5, 0.75]]]  # the third step was never met


def test_an_interval_by_story_is_wider_than_one_by_question():
    # Ten questions a story, all of one fate: as informative as one. Standard error of 40 coins: .079; of 400: .025
    fate = np.random.default_rng(5).integers(0, 2, 40).astype(np.float64)
    values, stories = np.repeat(fate, 10), np.repeat(np.arange(40), 10)
    by_story = clustered_mean(values, stories)
    by_question = clustered_mean(values, np.arange(400))
    assert (by_story.high - by_story.low) / (by_question.high - by_question.low) == pytest.approx(10**0.5, rel=0.1)
    assert by_story.clusters == 40
    assert not clustered_mean(values - values.mean(), stories).excludes_zero()
