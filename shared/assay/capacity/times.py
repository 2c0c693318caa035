"""Times of steps with a given mean and spread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random


def times_of(random: Random, mean: float, scv: float) -> Iterator[float]:
    """Constant for scv 0, exponential for 1, Gamma below 1, above it two exponentials with balanced means (H2).

    H2 as Whitt, Approximating a Point Process by a Renewal Process I, Operations Research 30 (1982), 3.1.
    """
    if scv == 0:
        while True:
            yield mean
    if scv == 1:
        while True:
            yield random.expovariate(1 / mean)
    if scv < 1:
        while True:
            yield random.gammavariate(1 / scv, mean * scv)
    share = (1 + math.sqrt((scv - 1) / (scv + 1))) / 2
    while True:
        chosen = share if random.random() < share else 1 - share
        yield random.expovariate(2 * chosen / mean)
