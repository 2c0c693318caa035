"""The share of dense attention's recall that a method keeps, with its 95 % paired interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """recall: share of questions answered. share: that over dense attention's, with its interval from low to high."""

    recall: float
    share: float
    low: float
    high: float

    def shown(self) -> str:
        return f"{100 * self.share:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def kept(method: Sequence[Booleans], dense: Sequence[Booleans], per_context: int, seed: int = 0) -> Kept:
    """method, dense: one array of answers a model, on the same questions.

    Models stand for themselves; contexts are drawn anew within each, all questions of one together, and the same ones
    for both: hence paired. Questions on one context are not independent of each other.
    """
    recall, against = (float(np.mean([right.mean() for right in each])) for each in (method, dense))
    if against == 0:
        return Kept(recall, float("nan"), float("nan"), float("nan"))
    shares = ratio(method, dense, per_context, seed)
    low, high = np.quantile(shares, (0.025, 0.975))
    return Kept(recall, recall / against, float(low), float(high))


def difference(
    first: Sequence[Booleans], second: Sequence[Booleans], per_context: int, seed: int = 0
) -> tuple[float, float, float]:
    """(first - second recall in points, low, high), paired in the same way."""
    a, b = _drawn(first, second, per_context, seed)
    low, high = np.quantile(a - b, (0.025, 0.975))
    mean = float(np.mean([right.mean() for right in first]) - np.mean([right.mean() for right in second]))
    return 100 * mean, 100 * float(low), 100 * float(high)


def ratio(method: Sequence[Booleans], dense: Sequence[Booleans], per_context: int, seed: int) -> NDArray[np.float64]:
    """[DRAWS] shares; draws in which dense attention answers nothing say nothing and are left out."""
    a, b = _drawn(method, dense, per_context, seed)
    return a[b > 0] / b[b > 0]


def _drawn(
    first: Sequence[Booleans], second: Sequence[Booleans], per_context: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall of both, [DRAWS] each, mean over models."""
    generator = np.random.default_rng(seed)
    totals = [np.zeros(DRAWS), np.zeros(DRAWS)]
    for pair in zip(first, second, strict=True):
        contexts = len(pair[0]) // per_context
        rows = generator.integers(0, contexts, size=(DRAWS, contexts))
        for total, right in zip(totals, pair, strict=True):
            total += right.reshape(contexts, per_context).mean(1)[rows].mean(1) / len(first)
    return totals[0], totals[1]
