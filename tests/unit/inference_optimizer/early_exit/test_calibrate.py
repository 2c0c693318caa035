"""Thresholds that keep their word, and two ways of breaking it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay_inference_optimizer.core.early_exit.bounds import clopper_pearson
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds, calibrate, certified, plug_in
from assay_inference_optimizer.core.early_exit.exit_profile import ClassSums, ExitProfile, RuleSums
from assay_inference_optimizer.core.early_exit.rules import Rule
from assay_inference_optimizer.core.early_exit.suitability import suitability

EPSILON, DELTA, TOKENS, GRID = 0.02, 0.05, 32, 40
# Risks of the thresholds tried, true by construction.
RISKS = np.linspace(0.0, 0.063, GRID)


def prompts(random: np.random.Generator, count: int) -> np.ndarray:
    """[count, G] tokens gone wrong of TOKENS, in prompts whose tokens go wrong together: some are hard, most easy."""
    hard = random.random(count) < 0.04
    return random.binomial(TOKENS, np.where(hard[:, None], np.minimum(1.0, 20 * RISKS), RISKS * 0.2 / 0.96))


def as_profile(wrong: np.ndarray) -> ExitProfile:
    """The rule saves more with every threshold: exit layers from 8 down to 4."""
    count = len(wrong)
    depth = np.tile(np.round(np.linspace(8, 4, GRID) * TOKENS).astype(np.int64), (count, 1))
    sums = RuleSums(wrong.astype(np.int64), depth, np.full_like(depth, TOKENS))
    tokens = np.full(count, TOKENS, dtype=np.int64)
    return ExitProfile(
        8, tuple(range(1, 8)), 0.5, 1000, ("all",), ClassSums.zeros(1, 8), tokens, tokens * 4,
        {Rule.MAX_PROBABILITY: sums},
    )  # fmt: skip


def true_risk(index: int | None) -> float:
    return 0.0 if index is None else float(0.04 * min(1.0, 20 * RISKS[index]) + 0.2 * RISKS[index])


def violations(choose: str, draws: int = 400, count: int = 300) -> tuple[float, float]:
    """(share of draws whose threshold has a true risk above epsilon, mean index chosen)."""
    random, broken, chosen = np.random.default_rng(7), 0, []
    for _ in range(draws):
        wrong = prompts(random, count)
        losses = wrong / TOKENS
        if choose == "by prompt":
            index = certified(losses, EPSILON, DELTA)
        elif choose == "plug-in":
            index = plug_in(losses, EPSILON)
        else:
            over = [clopper_pearson(int(w), count * TOKENS, DELTA) > EPSILON for w in wrong.sum(axis=0)]
            index = over.index(True) - 1
        broken += true_risk(index) > EPSILON
        chosen.append(-1 if index is None else index)
    return broken / draws, float(np.mean(chosen))


def test_draws_by_prompt_keep_the_promise_where_tokens_are_dependent() -> None:
    # 400 draws at 5 % exceed 8.5 % by luck once in 800.
    broken, index = violations("by prompt")
    assert broken <= 0.085
    # The boldest threshold that truly keeps 2 % is index 12; certifying nothing would keep the promise, too.
    assert sum(true_risk(i) <= EPSILON for i in range(GRID)) == 13
    assert index > 4


def test_the_plug_in_breaks_it_every_second_time_where_risk_rises_finely() -> None:
    broken, _ = violations("plug-in")
    assert 0.3 < broken < 0.7


def test_a_binomial_over_tokens_breaks_it_because_a_prompts_tokens_go_wrong_together() -> None:
    broken, _ = violations("binomial over tokens")
    assert broken > 0.15


def test_calibrate_says_what_it_stands_on() -> None:
    found = calibrate(
        as_profile(prompts(np.random.default_rng(3), 1000)),
        model="sha256:1", rule=Rule.MAX_PROBABILITY, epsilon=EPSILON, delta=DELTA,
    )  # fmt: skip
    assert found.threshold is not None
    assert found.prompts == 1000
    assert 0 < found.risk < EPSILON
    # 8 layers, exits between 8 and 4: the saving is that of the threshold's own depth; H = 0.5 for one head.
    assert found.net == pytest.approx(1 - (8 * (1 - found.gross) + 0.5) / 8.5)
    assert Thresholds.from_json(found.to_json()) == found
    found.check_model("sha256:1")
    with pytest.raises(FailedPrecondition, match="another checkpoint"):
        found.check_model("sha256:2")
    with pytest.raises(DataLoss):
        Thresholds.from_json(found.to_json().replace(b"max-probability", b"luck"))


def test_nothing_certified_lets_nothing_go() -> None:
    found = calibrate(
        as_profile(prompts(np.random.default_rng(3), 20)),  # 20 prompts cannot show 2 %
        model="m", rule=Rule.MAX_PROBABILITY, epsilon=EPSILON, delta=DELTA,
    )  # fmt: skip
    assert found.threshold is None
    assert found.gross == 0.0


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.05), (1.0, 0.05), (0.02, 0.0), (0.02, 1.5)])
def test_shares_outside_0_and_1_are_invalid(epsilon: float, delta: float) -> None:
    profile = as_profile(prompts(np.random.default_rng(0), 10))
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        calibrate(profile, model="m", rule=Rule.MAX_PROBABILITY, epsilon=epsilon, delta=delta)
    with pytest.raises(InvalidInput, match="not profiled"):
        calibrate(profile, model="m", rule=Rule.PATIENCE, epsilon=0.02, delta=0.05)


def test_suitability_is_of_prompts_it_was_not_picked_on() -> None:
    random = np.random.default_rng(11)
    # Tokens independent here, as the binomial takes them.
    wrong = random.binomial(TOKENS, RISKS, (2000, GRID))
    found = suitability(as_profile(wrong))
    assert found.rule is Rule.MAX_PROBABILITY
    # 32,000 tokens: the exact bound passes 1 % at a rate of some 0.9 %, index 5 of risk 0.81 % (index 6: 0.97 %).
    index = int(np.argmin(np.abs(as_profile(wrong).thresholds(Rule.MAX_PROBABILITY) - found.threshold)))
    assert index == 5
    assert found.calibrated_bound <= 0.01
    assert found.tokens == 32_000
    assert found.score == pytest.approx(1 - np.linspace(8, 4, GRID)[index] / 8, abs=0.01)
    assert found.net < found.score


def test_rules_share_the_chance_of_a_mistake() -> None:
    # The same sums under two rules: each is tested at 2.5 %, so a bound that 5 % would pass may fail.
    wrong = np.zeros((2, GRID), dtype=np.int64)
    one = as_profile(np.repeat(wrong, 10, axis=0))  # 10 * 32 = 320 tokens a half: enough at 5 % (299), not at 2.5 %
    two = replace(one, rules=dict.fromkeys((Rule.MAX_PROBABILITY, Rule.MARGIN), one.rules[Rule.MAX_PROBABILITY]))
    assert suitability(one).rule is not None
    assert suitability(two).rule is None
    with pytest.raises(InvalidInput, match="at least two"):
        suitability(one.part(np.array([0])))
