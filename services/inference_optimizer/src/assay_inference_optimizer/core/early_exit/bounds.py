"""Bounds on a rate or a risk that hold for the sample at hand, not only in the limit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def clopper_pearson(wrong: int, tokens: int, delta: float) -> float:
    """Upper bound of a binomial rate that holds with probability 1 - delta, exactly (Clopper and Pearson, 1934)."""
    if wrong >= tokens:
        return 1.0
    return float(stats.beta.ppf(1 - delta, wrong + 1, tokens - wrong))


def hoeffding_bentkus(losses: Floats, risk: float) -> Floats:
    """p-values of "the mean loss is above `risk`" (arXiv:2110.01052, proposition 1).

    losses: [n, G] in [0, 1], rows independent; returns [G].
    """
    n = len(losses)
    means = losses.mean(axis=0)
    low = np.minimum(means, risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(low > 0, low * np.log(low / risk), 0.0) + (1 - low) * np.log((1 - low) / (1 - risk))
    bentkus = math.e * stats.binom.cdf(np.ceil(n * means - 1e-9), n, risk)
    smaller: Floats = np.minimum(np.exp(-n * entropy), bentkus)
    return np.where(means < risk, np.minimum(1.0, smaller), 1.0)


def betting(losses: Floats, risk: float, delta: float) -> Floats:
    """p-values of "the mean loss is above `risk`" by the capital of a bet against it.

    Waudby-Smith and Ramdas, arXiv:2010.09686: capital times (1 - b_i (x_i - risk)) after each loss, the bet b_i
    from the losses before it; in a fair game it ever reaches 1 / p with probability p at most. It adapts to a small
    variance, which a mean over a prompt's tokens has. losses: [n, G] in [0, 1], rows in random order; returns [G].
    delta: the level that bets are tuned to, no matter for validity.
    """
    n = len(losses)
    counts = np.arange(1, n + 1)[:, None]
    means = (0.5 + np.cumsum(losses, axis=0)) / (counts + 1)
    variances = (0.25 + np.cumsum((losses - means) ** 2, axis=0)) / (counts + 1)
    before = np.concatenate([np.full((1, losses.shape[1]), 0.25), variances[:-1]])
    # A bet of 1 at most keeps the capital positive whatever comes: 1 - b (1 - risk) >= risk.
    bets = np.minimum(1.0, np.sqrt(2 * math.log(1 / delta) / (n * before)))
    capital = np.cumsum(np.log1p(-bets * (losses - risk)), axis=0).max(axis=0)
    p_values: Floats = np.exp(-np.maximum(0.0, capital))
    return p_values
