"""The suitability score: how many layers a model's tokens can be spared at one percent of change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.errors import InvalidInput
from assay_inference_optimizer.core.early_exit.bounds import betting, clopper_pearson
from assay_inference_optimizer.core.early_exit.curves import Saving, saving
from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile
from assay_inference_optimizer.core.early_exit.rules import Rule

DISAGREEMENT = 0.01
DELTA = 0.05


@dataclass(frozen=True)
class Suitability:
    """score: layers saved as a share of L by the best rule, gross; rank models by it. net: beside it, print it.

    rule, threshold: None where none could be certified, and the score is then 0. calibrated_bound: upper bound of
    disagreement on the calibration half; disagreement, tokens: on the other half, where savings are taken.
    p_by_prompt: p-value of "disagreement is above the limit" with prompts as draws on the calibration half, for
    text whose tokens go wrong together.
    """

    score: float
    net: float
    rule: Rule | None
    threshold: float | None
    calibrated_bound: float
    disagreement: float
    tokens: int
    p_by_prompt: float


def suitability(
    profile: ExitProfile, *, limit: float = DISAGREEMENT, delta: float = DELTA, seed: int = 0
) -> Suitability:
    """Layers saved by the best rule at a token disagreement of at most `limit`.

    The formula is ours: that of arXiv:2603.23701, whose question it answers, was not available. Prompts are split in
    halves at random. On the first, each rule's thresholds are tested from the most careful on, each by the exact
    binomial upper bound, until one fails (fixed-sequence testing: no correction for their number); rules are tested
    at delta / their number each (Bonferroni), so that with probability 1 - delta every threshold certified keeps the
    limit, and the best of them may be chosen freely. Score, net and disagreement are those of the second half.
    The binomial takes tokens as independent; `p_by_prompt` does not.
    Raises InvalidInput for fewer than two prompts.
    """
    if profile.prompts < 2:
        raise InvalidInput("prompts", f"are {profile.prompts}; give at least two, one for each half")
    order = np.random.default_rng(seed).permutation(profile.prompts)
    calibration, test = (profile.part(np.sort(half)) for half in np.array_split(order, 2))
    certified = [
        found
        for rule in profile.rules
        if (found := _last_certified(calibration, rule, limit, delta / len(profile.rules)))
    ]
    if not certified:
        return Suitability(0.0, 0.0, None, None, 1.0, 0.0, int(test.tokens.sum()), 1.0)
    _, rule, index, bound = min(certified, key=lambda found: found[0])
    sums, tokens = test.rules[rule], int(test.tokens.sum())
    saved: Saving = saving(
        profile, float(sums.depth[:, index].sum() / tokens), float(sums.heads[:, index].sum() / tokens)
    )
    losses = calibration.rules[rule].wrong[:, [index]] / calibration.tokens[:, None]
    shuffled = np.random.default_rng(seed).permutation(losses)
    return Suitability(
        score=saved.gross,
        net=saved.net,
        rule=rule,
        threshold=float(profile.thresholds(rule)[index]),
        calibrated_bound=bound,
        disagreement=float(sums.wrong[:, index].sum() / tokens),
        tokens=tokens,
        p_by_prompt=float(betting(shuffled, limit, delta)[0]),
    )


def _last_certified(
    calibration: ExitProfile, rule: Rule, limit: float, delta: float
) -> tuple[float, Rule, int, float] | None:
    """(mean exit layer, rule, index of the threshold, bound) of the last threshold before the first failure."""
    sums, tokens = calibration.rules[rule], int(calibration.tokens.sum())
    found = None
    for index, wrong in enumerate(sums.wrong.sum(axis=0).tolist()):
        bound = clopper_pearson(wrong, tokens, delta)
        if bound > limit:
            break
        found = (float(sums.depth[:, index].sum() / tokens), rule, index, bound)
    return found
