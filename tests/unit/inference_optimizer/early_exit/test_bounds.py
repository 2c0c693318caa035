"""Bounds against closed forms, and their promise against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from assay_inference_optimizer.core.early_exit.bounds import betting, clopper_pearson, hoeffding_bentkus


def test_clopper_pearson_is_the_rate_at_which_so_few_errors_are_a_five_percent_chance() -> None:
    # No error in n: (1 - r)^n = delta. 298 tokens are too few for 1 %, 299 enough.
    assert clopper_pearson(0, 298, 0.05) > 0.01 > clopper_pearson(0, 299, 0.05)
    assert clopper_pearson(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100))
    for wrong, tokens in ((1, 50), (7, 900), (49, 50)):
        bound = clopper_pearson(wrong, tokens, 0.05)
        assert stats.binom.cdf(wrong, tokens, bound) == pytest.approx(0.05)
    assert clopper_pearson(50, 50, 0.05) == 1.0


def test_hoeffding_bentkus_by_hand() -> None:
    # All zero, n = 200, risk 0.02: Hoeffding's exp(-n KL(0 || 0.02)) = 0.98^200 = 0.0176, Bentkus e * 0.98^200.
    losses = np.zeros((200, 1))
    assert hoeffding_bentkus(losses, 0.02)[0] == pytest.approx(0.98**200)
    assert hoeffding_bentkus(np.full((200, 1), 0.03), 0.02)[0] == 1.0


def test_betting_by_hand() -> None:
    # One loss of 0 at risk 0.1: the bet is min(1, sqrt(2 ln 20 / 0.25)) = 1, the capital 1.1.
    assert betting(np.zeros((1, 1)), 0.1, 0.05)[0] == pytest.approx(1 / 1.1)
    # A loss of 1 afterwards costs the bet nearly everything; the capital once reached still counts.
    assert betting(np.array([[0.0], [1.0]]), 0.1, 0.05)[0] == pytest.approx(1 / 1.1)


@pytest.mark.parametrize("bound", ["betting", "hoeffding_bentkus"])
@pytest.mark.parametrize("kind", ["bernoulli", "beta", "rare and whole"])
def test_a_true_null_is_rejected_in_five_of_a_hundred_at_most(bound: str, kind: str) -> None:
    # 2,000 samples of 300 losses whose mean is the risk itself. At exactly 5 %, more than 6.5 % has odds of 1 in 500.
    random, risk = np.random.default_rng(0), 0.02
    draws = {
        "bernoulli": random.random((300, 2000)) < risk,
        "beta": random.beta(0.5, 24.5, (300, 2000)),
        "rare and whole": (random.random((300, 2000)) < risk / 0.8) * 0.8,
    }[kind].astype(float)
    p = betting(draws, risk, 0.05) if bound == "betting" else hoeffding_bentkus(draws, risk)
    assert (p <= 0.05).mean() <= 0.065


def test_betting_certifies_what_varies_little_with_fewer_prompts() -> None:
    # Mean 0.012 and standard deviation 0.011, as a mean over a prompt's tokens has; 400 prompts at 0.02.
    losses = np.random.default_rng(1).beta(1.2, 98.8, (400, 200))
    by_bet, by_tail = betting(losses, 0.02, 0.05) <= 0.05, hoeffding_bentkus(losses, 0.02) <= 0.05
    assert by_bet.mean() > 0.7
    assert by_tail.mean() < 0.05
    assert math.isclose(losses.mean(), 0.012, rel_tol=0.02)
