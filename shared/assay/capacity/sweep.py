"""More and more traffic: what gives way first, and what next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.capacity.outcome import Outcome
from assay.capacity.simulation import Simulation
from assay.capacity.specification import Specification


@dataclass(frozen=True)
class Step:
    """One load. gave: bounds and limits met at it and at none lower, in the order of time."""

    load: float
    outcome: Outcome
    gave: tuple[str, ...]


def sweep(
    specification: Specification,
    loads: Sequence[float],
    *,
    seed: int = 0,
    hours: float = 1.0,
    warmup_s: float = 0.0,
    done: Callable[[int], None] = lambda count: None,
) -> list[Step]:
    """One simulation a load, ascending; each begins with the replicas planned for load 1."""
    steps: list[Step] = []
    seen: set[str] = set()
    for number, load in enumerate(sorted(loads), 1):
        outcome = Simulation(specification, seed=seed, hours=hours, load=load, warmup_s=warmup_s).run()
        met = [f"{bound.name} ({bound.service})" for bound in outcome.bounds]
        met += [each.name for each in outcome.broken]
        fresh = tuple(name for name in met if name not in seen)
        seen.update(fresh)
        steps.append(Step(load, outcome, fresh))
        done(number)
    return steps
