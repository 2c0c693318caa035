"""How far the formulas of `queueing` are off, against simulated lines."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from random import Random

from assay.capacity.queueing import wait
from assay.capacity.times import times_of

BATCHES = 20
T_19 = 2.093  # Student's t, 19 degrees of freedom, 95 %


@dataclass(frozen=True)
class SimulatedLine:
    """mean_s, wait_share, p99_s of the wait; each half-width: 95 % by batch means (Law and Kelton 1979)."""

    mean_s: float
    mean_half: float
    wait_share: float
    wait_share_half: float
    p99_s: float


@dataclass(frozen=True)
class Row:
    """One line of the table. error: (formula - simulated) / simulated; sure: it lies outside the interval."""

    servers: int
    utilisation: float
    arrival_scv: float
    service_scv: float
    formula_s: float
    simulated: SimulatedLine
    error: float
    sure: bool
    p99_error: float


def simulate_line(
    servers: int, rate: float, service_s: float, *, arrival_scv: float, service_scv: float, arrivals: int, seed: int = 0
) -> SimulatedLine:
    """First come first served before `servers` servers; a tenth of `arrivals` goes by first, uncounted."""
    gaps = times_of(Random(f"{seed}/gaps"), 1 / rate, arrival_scv)
    works = times_of(Random(f"{seed}/works"), service_s, service_scv)
    free = [0.0] * servers
    now, waits = 0.0, []
    for number in range(arrivals + arrivals // 10):
        now += next(gaps)
        begin = max(now, free[0])
        heapq.heapreplace(free, begin + next(works))
        if number >= arrivals // 10:
            waits.append(begin - now)
    size = len(waits) // BATCHES
    batches = [waits[size * each : size * (each + 1)] for each in range(BATCHES)]
    mean, half = _mean([math.fsum(batch) / size for batch in batches])
    share, share_half = _mean([sum(each > 0 for each in batch) / size for batch in batches])
    return SimulatedLine(mean, half, share, share_half, sorted(waits)[math.ceil(0.99 * len(waits)) - 1])


def _mean(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, T_19 * math.sqrt(variance / len(values))


def table(arrivals: int = 200_000, seed: int = 0) -> list[Row]:
    """Lines of 1 to 50 servers, half busy to nearly always, constant to bursty."""
    rows = []
    for servers in (1, 4, 10, 50):
        for utilisation in (0.5, 0.8, 0.95):
            for arrival_scv, service_scv in ((1.0, 1.0), (1.0, 0.0), (1.0, 4.0), (0.25, 0.25), (4.0, 1.0)):
                rate = servers * utilisation
                formula = wait(servers, rate, 1.0, arrival_scv=arrival_scv, service_scv=service_scv)
                found = simulate_line(
                    servers, rate, 1.0, arrival_scv=arrival_scv, service_scv=service_scv, arrivals=arrivals, seed=seed
                )
                p99 = formula.percentile(0.99)
                rows.append(
                    Row(
                        servers, utilisation, arrival_scv, service_scv, formula.mean_s, found,
                        formula.mean_s / found.mean_s - 1 if found.mean_s else math.nan,
                        abs(formula.mean_s - found.mean_s) > found.mean_half,
                        p99 / found.p99_s - 1 if found.p99_s else math.nan,
                    )
                )  # fmt: skip
    return rows
