"""Waiting lines with c servers: formulas of Erlang, Kingman's descendants Allen and Cunneen, and birth and death.

Symbols: `offered` a = arrival rate x mean service time, in erlangs; c servers; utilisation rho = a / c. Rates are per
second, times in seconds. scv: squared coefficient of variation, variance / mean^2 (0 constant, 1 exponential).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from assay.errors import InvalidInput

# What is reckoned in seconds: 64 calls at once on each of the 8,192 replicas that one Serve controller was tried with.
MOST_PLACES = 64 * 8192


def erlang_b(servers: int, offered: float) -> float:
    """Share of arrivals that M/M/c/c turns away. Erlang 1917, by the recursion B(c) = a B(c-1) / (c + a B(c-1))."""
    if servers < 0 or offered < 0:
        raise InvalidInput("servers", f"{servers} servers and {offered} erlangs; both are at least 0")
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked


def erlang_c(servers: int, offered: float) -> float:
    """Share of arrivals that wait in M/M/c. Erlang 1917: C = B / (1 - rho (1 - B)); 1.0 where rho is 1 or more."""
    if offered >= servers:
        return 1.0
    blocked = erlang_b(servers, offered)
    return blocked / (1 - offered / servers * (1 - blocked))


@dataclass(frozen=True)
class Wait:
    """Of a stable line: probability that an arrival waits, mean wait over all arrivals [s], utilisation."""

    probability: float
    mean_s: float
    utilisation: float

    def beyond(self, seconds: float) -> float:
        """P(wait > seconds), the wait of those who wait taken as exponential: exact for M/M/c."""
        if self.probability == 0:
            return 0.0
        if math.isinf(self.mean_s):
            return 1.0
        return self.probability * math.exp(-seconds * self.probability / self.mean_s) if self.mean_s else 0.0

    def percentile(self, share: float) -> float:
        """The wait [s] that `share` of arrivals do not exceed; infinite where the line only grows."""
        if math.isinf(self.mean_s):
            return math.inf
        if 1 - share >= self.probability or self.mean_s == 0:
            return 0.0
        return self.mean_s / self.probability * math.log(self.probability / (1 - share))


def wait(servers: int, rate: float, service_s: float, *, arrival_scv: float = 1.0, service_scv: float = 1.0) -> Wait:
    """The wait in G/G/c, first come first served.

    Allen-Cunneen (Allen, Probability, Statistics and Queueing Theory, 2nd ed. 1990, 6.3): the mean wait of M/M/c times
    (arrival_scv + service_scv) / 2. Exact for M/M/c and, with one server, M/G/1 (Pollaczek-Khinchine); the probability
    of waiting is Erlang's. `assay capacity check` prints how far off it is elsewhere.
    """
    if rate < 0 or service_s < 0 or arrival_scv < 0 or service_scv < 0:
        raise InvalidInput("rate", "rates, times and coefficients of variation are at least 0")
    offered = rate * service_s
    if offered == 0:
        return Wait(0.0, 0.0, 0.0)
    if offered >= servers:
        return Wait(1.0, math.inf, 1.0)
    probability = erlang_c(servers, offered)
    poisson = probability * service_s / (servers - offered)
    return Wait(probability, poisson * (arrival_scv + service_scv) / 2, offered / servers)


def servers_for(
    rate: float,
    service_s: float,
    *,
    wait_s: float,
    percentile: float,
    utilisation: float,
    arrival_scv: float = 1.0,
    service_scv: float = 1.0,
) -> int:
    """The fewest servers with P(wait <= wait_s) >= percentile and a utilisation of at most `utilisation`.

    InvalidInput (`per_s`) where MOST_PLACES are too few.
    """
    if not 0 < utilisation < 1 or not 0 < percentile < 1:
        raise InvalidInput("utilisation", "a share between 0 and 1, as is the percentile")

    def enough(count: int) -> bool:
        line = wait(count, rate, service_s, arrival_scv=arrival_scv, service_scv=service_scv)
        return line.percentile(percentile) <= wait_s

    return fewest(rate * service_s / utilisation, MOST_PLACES, enough)


def fewest(first: float, most: int, enough: Callable[[int], bool]) -> int:
    """The least count from `first` to `most`, and from 1, that is `enough`, as every higher one then is too.

    By doubling and halving, since each trial costs as much as it has servers. InvalidInput (`per_s`) where none is.
    """
    high, step = max(1, math.ceil(min(first, 2.0 * most) - 1e-9)), 1
    low = high - 1
    while high > most or not enough(high):
        if high >= most:
            raise InvalidInput(
                "per_s", f"wants more than {most:,} servers; allow longer waits, or split it over several services"
            )
        low, high, step = high, min(most, high + step), step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Population:
    """Steady state of a birth-death line: P(k in the system), k = 0..; cut where the rest is negligible."""

    shares: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(k * share for k, share in enumerate(self.shares))

    def at_least(self, count: int) -> float:
        return math.fsum(self.shares[count:])


def birth_death(rate: float, departure: Callable[[int], float], *, settled: int) -> Population:
    """Poisson arrivals at `rate`; with k in the system they leave at `departure(k)` per second in all.

    settled: from here on `departure` no longer changes, so the rest is a geometric tail (Kleinrock, Queueing Systems
    I, 1975, 3.1). Shares are kept until the tail weighs less than 1e-9. Raises InvalidInput where it does not converge.
    """
    logs = [0.0]
    for k in range(1, settled + 1):
        logs.append(logs[-1] + math.log(rate) - math.log(departure(k)))
    ratio = rate / departure(settled)
    if ratio >= 1:
        raise InvalidInput("rate", f"{rate:.6g} arrivals a second against {departure(settled):.6g} departures at most")
    while logs[-1] - max(logs) > -24 - math.log1p(1 / (1 - ratio)):
        logs.append(logs[-1] + math.log(ratio))
    top = max(logs)
    weights = [math.exp(each - top) for each in logs]
    total = math.fsum(weights)
    return Population(tuple(weight / total for weight in weights))
