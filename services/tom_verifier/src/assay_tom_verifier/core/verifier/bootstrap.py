"""Intervals of means over stories: questions about one story share its luck, so stories are what is drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidInput

RESAMPLES = 4000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval. clusters: how many were drawn from."""

    mean: float
    low: float
    high: float
    clusters: int

    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def clustered_mean(
    values: NDArray[np.float64], clusters: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the mean of `values`, [n], drawing whole clusters with replacement.

    clusters: [n], equal for values that belong together. A resample's mean is over all values drawn, so that large
    clusters weigh more, as they do in the mean itself. InvalidInput where there are no values.
    """
    if len(values) == 0 or len(values) != len(clusters):
        raise InvalidInput("values", f"are {len(values)} beside {len(clusters)} clusters; give one of each")
    _, index = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, 500):
        drawn = generator.integers(0, len(sums), (min(500, resamples - start), len(sums)))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(sums))
