"""95 % bootstrap intervals of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay_moe_router.core.evaluate import resampled_means
from assay_moe_router.core.statistics import Floats

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def inside(self, bound: float) -> bool:
        return -bound <= self.low and self.high <= bound

    def shown(self, digits: int, scale: float = 1) -> str:
        mean, low, high = (value * scale for value in (self.mean, self.low, self.high))
        return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def of_mean(values: Floats, seed: int = 0) -> Interval:
    """values: [n] that were drawn independently: sequences, or windows of traffic."""
    low, high = np.quantile(resampled_means(values, RESAMPLES, np.random.default_rng(seed)), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def over_seeds(values: Sequence[float], digits: int = 2) -> str:
    """Mean [least, most]."""
    return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"
