"""Do scores mean what they say? Reliability, Brier skill, and what refusing doubtful answers is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidInput

Floats = NDArray[np.float64]
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """The diagram's bars: bins of equal width over [0, 1]; edges [bins + 1]; count, mean score and share right [bins].

    Mean and share are NaN in an empty bin.
    """

    edges: Floats
    counts: NDArray[np.int64]
    scores: Floats
    shares: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of share and score, weighted by count (Naeini et al. 2015)."""
        filled = self.counts > 0
        gaps = np.abs(self.shares[filled] - self.scores[filled])
        return float((gaps * self.counts[filled]).sum() / self.counts.sum())


@dataclass(frozen=True)
class RiskCoverage:
    """coverage: share of the answers kept, most trusted first; risk: share of wrong ones among them; [n] both.

    area: mean risk over all coverages, the lower the better (AURC, Geifman et al. 2019).
    """

    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        return float(self.risk.mean())


def reliability(scores: Floats, right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """scores: [n] in [0, 1]; right: [n]. A score of 1 falls into the last bin. InvalidInput for none, or outside."""
    _check(scores, right)
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(index, weights=scores, minlength=bins) / counts
        shares = np.bincount(index, weights=right, minlength=bins) / counts
    return Reliability(edges, counts, means, shares)


def brier(scores: Floats, right: NDArray[np.bool_]) -> float:
    """Mean squared distance of score and truth."""
    _check(scores, right)
    return float(np.mean((scores - right) ** 2))


def brier_skill(scores: Floats, right: NDArray[np.bool_]) -> float:
    """1 - Brier / Brier of always saying the base rate: 1 is perfect, 0 no better than the rate, below it harmful.

    InvalidInput where all are right or all wrong: the base rate is then perfect, and skill is undefined.
    """
    rate = right.mean()
    if rate in (0.0, 1.0):
        raise InvalidInput("right", f"is {bool(rate)} throughout, skill is undefined; give steps of both kinds")
    return 1.0 - brier(scores, right) / float(rate * (1 - rate))


def risk_coverage(scores: Floats, right: NDArray[np.bool_]) -> RiskCoverage:
    """Keeps the most trusted k of n answers, for every k; equal scores share the risk of their group's mean."""
    _check(scores, right)
    order = np.argsort(-scores, kind="stable")
    _, group = np.unique(-scores[order], return_inverse=True)
    wrong = ~right[order]
    means = np.bincount(group, weights=wrong) / np.bincount(group)
    kept = np.arange(1, len(scores) + 1)
    return RiskCoverage(kept / len(scores), np.cumsum(means[group]) / kept)


def _check(scores: Floats, right: NDArray[np.bool_]) -> None:
    if len(scores) == 0 or len(scores) != len(right):
        raise InvalidInput("scores", f"are {len(scores)} beside {len(right)} labels; give one of each, at least one")
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise InvalidInput("scores", "hold NaN or a number outside [0, 1]; give probabilities")
