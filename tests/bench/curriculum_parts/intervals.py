"""Differences between two recipes over the same seeds, with Student's 95 % interval: five seeds are no bootstrap."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t


@dataclass(frozen=True)
class Paired:
    mean: float
    low: float
    high: float
    pairs: int

    def shown(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Mean of first - second; the interval is without bounds where there is one pair only."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Paired(mean, -float("inf"), float("inf"), n)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / n**0.5
    return Paired(mean, mean - half, mean + half, n)
