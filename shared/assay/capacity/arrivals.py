"""When calls come: recorded, or drawn from a process. All times in seconds from the start, ascending."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random

from assay.capacity.figures import Figure, Section, assumed
from assay.errors import InvalidInput

KINDS = ("poisson", "diurnal", "bursty", "flash", "dump", "recorded")
Drawn = Callable[[Random, float], Iterator[float]]


@dataclass(frozen=True)
class Arrivals:
    """draw: the times, of a generator and a load factor. peak_per_s: the highest rate that lasts; infinite where many
    come at one moment, None where only the recording knows."""

    kind: str
    peak_per_s: float | None
    draw: Drawn

    def __call__(self, random: Random, load: float) -> Iterator[float]:
        return self.draw(random, load)


def arrivals_of(values: object, path: str, rate: float, figures: dict[str, Figure]) -> Arrivals:
    """The process of a file's `arrivals` table around `rate` per second.

    poisson. diurnal: a sine of `period_s`, from (1 - depth) to (1 + depth) times the rate, lowest at the start.
    bursty: a Markov-modulated Poisson process of two states (Fischer and Meier-Hellstern 1993), `burst` times the quiet
    rate for burst_s on average, quiet_s between, `rate` on the whole. flash: `factor` times the rate from at_s on for
    for_s, after a straight ramp of ramp_s. dump: `count` at at_s, beside Poisson arrivals. recorded: times of `file`,
    a path from where the command runs; of a front's log only calls whose method ends with `method`.
    """
    if not isinstance(values, dict):
        raise InvalidInput(path, "is no table")
    section = Section(values, path, figures)
    kind = section.text("kind", among=KINDS)
    peak: float | None = rate
    if kind == "poisson":
        made: Drawn = lambda random, load: poisson(random, rate * load)  # noqa: E731
    elif kind == "diurnal":
        depth = section.number("depth", assumed(0.8, "nearly quiet at night"), most=1)
        period = section.number("period_s", assumed(86400, "a day"), above=True)
        peak = rate * (1 + depth)
        made = _varying(lambda t: rate * (1 - depth * math.cos(2 * math.pi * t / period)), peak)
    elif kind == "bursty":
        burst = section.number("burst", least=1)
        burst_s = section.number("burst_s", above=True)
        quiet_s = section.number("quiet_s", above=True)
        quiet = rate * (burst_s + quiet_s) / (burst * burst_s + quiet_s)
        peak = quiet * burst
        made = lambda random, load: bursty(random, quiet * load, quiet * burst * load, quiet_s, burst_s)  # noqa: E731
    elif kind == "flash":
        factor, at = section.number("factor", least=1), section.number("at_s")
        ramp = section.number("ramp_s", assumed(30, "from the usual rate to the crowd's"), above=True)
        lasts = section.number("for_s", above=True)

        def crowd(t: float) -> float:
            inside = min(1.0, max(0.0, (t - at) / ramp)) if t < at + ramp + lasts else 0.0
            return rate * (1 + (factor - 1) * inside)

        peak = rate * factor
        made = _varying(crowd, peak)
    elif kind == "dump":
        count, at = section.whole("count", least=1), section.number("at_s")
        peak = math.inf
        made = lambda random, load: _merged(poisson(random, rate * load), [at] * round(count * load))  # noqa: E731
    else:
        peak = None
        file, method = Path(section.text("file")), section.text("method", "")
        made = lambda random, load: repeated(random, read_times(file, method), load)  # noqa: E731
    section.done()
    return Arrivals(kind, peak, made)


def poisson(random: Random, rate: float) -> Iterator[float]:
    now = 0.0
    while True:
        now += random.expovariate(rate)
        yield now


def bursty(random: Random, quiet: float, burst: float, quiet_s: float, burst_s: float) -> Iterator[float]:
    """Exponential stays in each state; memoryless, so the draw is begun anew at a change of state."""
    now, ends, rate, means = 0.0, random.expovariate(1 / quiet_s), quiet, (quiet_s, burst_s)
    while True:
        step = random.expovariate(rate)
        if now + step < ends:
            now += step
            yield now
            continue
        now = ends
        rate = burst if rate == quiet else quiet
        ends = now + random.expovariate(1 / means[rate == burst])


def _varying(rate: Callable[[float], float], most: float) -> Drawn:
    """Poisson arrivals whose rate changes, by thinning (Lewis and Shedler 1979)."""

    def made(random: Random, load: float) -> Iterator[float]:
        return (t for t in poisson(random, most * load) if random.random() * most < rate(t))

    return made


def repeated(random: Random, times: Iterable[float], load: float) -> Iterator[float]:
    """Recorded arrivals at another load: each comes floor(load) times, once more by chance."""
    whole, rest = int(load), load - int(load)
    for time in times:
        for _ in range(whole + (random.random() < rest)):
            yield time


def _merged(first: Iterator[float], second: list[float]) -> Iterator[float]:
    waiting = iter(sorted(second))
    late = next(waiting, math.inf)
    for time in first:
        while late <= time:
            yield late
            late = next(waiting, math.inf)
        yield time


def read_times(path: Path, method: str = "") -> list[float]:
    """Arrivals of a CSV of seconds in its first column, or of a front's log (JSON lines), from 0 on."""
    times = [call.arrived for call in read_calls(path, method)]
    if not times:
        raise InvalidInput("file", f"{path.name} holds no arrivals")
    return times


class RecordedCall:
    """arrived: seconds after the first. ms: until it was answered, None where only arrivals were kept."""

    __slots__ = ("arrived", "code", "ms")

    def __init__(self, arrived: float, ms: float | None = None, code: str = "OK") -> None:
        self.arrived, self.ms, self.code = arrived, ms, code


def read_calls(path: Path, method: str = "") -> list[RecordedCall]:
    """Calls of a CSV (seconds[,milliseconds]) or of a front's log; `method`: only those whose name ends so."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidInput("file", f"{path} cannot be read ({error.strerror})") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        call = _of_log(line, method) if line.lstrip().startswith("{") else _of_csv(line, number, path)
        if call is not None:
            found.append(call)
    found.sort(key=lambda call: call.arrived)
    first = found[0].arrived if found else 0.0
    for call in found:
        call.arrived -= first
    return found


def _of_log(line: str, method: str) -> RecordedCall | None:
    """A call's line has `method` and `ms`; its time is that of the answer."""
    try:
        values = json.loads(line)
        if "method" not in values or "ms" not in values or not values["method"].endswith(method):
            return None
        ms = float(values["ms"])
        return RecordedCall(
            datetime.fromisoformat(values["time"]).timestamp() - ms / 1e3, ms, str(values.get("code", ""))
        )
    except (ValueError, KeyError, AttributeError):
        return None  # other programs' lines may stand in the same log


def _of_csv(line: str, number: int, path: Path) -> RecordedCall | None:
    cells = line.split(",")
    try:
        return RecordedCall(float(cells[0]), float(cells[1]) if len(cells) > 1 else None)
    except ValueError:
        if number == 1:
            return None  # a heading
        raise InvalidInput("file", f"{path.name}, line {number}: {line[:40]!r} is no time in seconds") from None


def spread(times: list[float]) -> float:
    """Squared coefficient of variation of the gaps: 1 for Poisson, more for bursts."""
    gaps = [late - early for early, late in pairwise(times)]
    if len(gaps) < 2:
        raise InvalidInput("file", "holds fewer than three arrivals")
    mean = sum(gaps) / len(gaps)
    return sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / mean**2
