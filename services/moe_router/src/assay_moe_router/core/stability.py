"""How scores and loads settle as the calibration set grows: the paper says that a small one suffices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from assay_moe_router.core.statistics import Floats


@dataclass(frozen=True)
class StabilityPoint:
    """Rank agreement between what `sequences` sequences say and what all the others do, over random draws.

    spearman: mean; low, high: its 95 % range over draws. same_first: share of the draws in which both name the same
    least important expert (or busiest, for loads).
    """

    sequences: int
    spearman: float
    low: float
    high: float
    same_first: float


def stability(
    per_sequence: Floats,
    *,
    first: str,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    draws: int = 200,
    seed: int = 0,
) -> tuple[StabilityPoint, ...]:
    """per_sequence: [E, S] contributions whose mean is the score. first: "least" or "most", which end must agree.

    Each draw compares a random sample with the sequences outside it, so that no sequence confirms itself; sizes
    above half of S are left out.
    """
    random = np.random.default_rng(seed)
    sequences = per_sequence.shape[1]
    pick = np.argmin if first == "least" else np.argmax
    points = []
    for size in (size for size in sizes if size <= sequences // 2):
        agreements, same = np.empty(draws), 0
        for draw in range(draws):
            order = random.permutation(sequences)
            sample, rest = per_sequence[:, order[:size]].mean(axis=1), per_sequence[:, order[size:]].mean(axis=1)
            agreements[draw] = rank_agreement(sample, rest)
            same += int(pick(sample) == pick(rest))
        low, high = np.quantile(agreements, [0.025, 0.975])
        points.append(StabilityPoint(size, float(agreements.mean()), float(low), float(high), same / draws))
    return tuple(points)


def rank_agreement(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; 0 where either is constant, because a constant ranks nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])
