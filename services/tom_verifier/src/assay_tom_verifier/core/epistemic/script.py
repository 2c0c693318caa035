"""A model with what happens to it and what is claimed of it, run from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.engine import Engine, Reduction, State
from assay_tom_verifier.core.epistemic.formulas import Formula, Not, uses_distributed
from assay_tom_verifier.core.epistemic.models import EventModel, Model


@dataclass(frozen=True)
class Announce:
    """`announce f`; whether: `announce whether f`, which says f or its negation, whichever is true."""

    formula: Formula
    whether: bool
    line: int


@dataclass(frozen=True)
class Apply:
    """`update events`."""

    events: EventModel
    line: int


@dataclass(frozen=True)
class Claim:
    """`claim f`; text: f as it was written."""

    formula: Formula
    text: str
    line: int


@dataclass(frozen=True)
class Repeat:
    """`repeat announce f until g`: not once where g is true already."""

    announcement: Formula
    until: Formula
    line: int


Step = Announce | Apply | Claim | Repeat


@dataclass(frozen=True)
class Script:
    """events: every event model declared, by name, in order."""

    model: Model
    events: Mapping[str, EventModel]
    steps: tuple[Step, ...]

    def formulas(self) -> Iterator[Formula]:
        """Every formula of its events and steps."""
        for events in self.events.values():
            yield from events.formulas()
        for step in self.steps:
            match step:
                case Announce(formula) | Claim(formula):
                    yield formula
                case Repeat(announcement, until):
                    yield announcement
                    yield until


@dataclass(frozen=True)
class Verdict:
    """What came of a claim: its formula as written, whether it held then, and the line it stands on."""

    formula: str
    holds: bool
    line: int


@dataclass(frozen=True)
class Run:
    """What came of a script.

    rounds: announcements and updates made. seconds: of the engine's work, parsing left out. worlds: most worlds that
    any state had, once contracted. nodes: decision nodes at the end, None where worlds are listed.
    """

    verdicts: tuple[Verdict, ...]
    rounds: int
    seconds: float
    worlds: int
    nodes: int | None
    state: State


def run_script(script: Script, engine: Engine) -> Run:
    """Raises what the engine raises, with the line; FailedPrecondition where a loop would never end.

    A script that asks for distributed knowledge is run without contraction, which would not keep it.
    """
    begun = time.perf_counter()
    if engine.reduction is Reduction.CONTRACT and any(map(uses_distributed, script.formulas())):
        engine = engine.reducing(Reduction.PRUNE)
    return _run(engine, engine.load(script.model), script.steps, begun)


def run_steps(steps: Sequence[Step], engine: Engine, state: State) -> Run:
    """The steps from a state that stands already."""
    return _run(engine, state, steps, time.perf_counter())


def _run(engine: Engine, state: State, steps: Sequence[Step], begun: float) -> Run:
    verdicts: list[Verdict] = []
    rounds, most = 0, state.worlds
    for step in steps:
        match step:
            case Claim(formula, text, line):
                verdicts.append(Verdict(text, engine.holds(state, formula), line))
            case Announce(formula, whether, line):
                said = formula if not whether or engine.holds(state, formula) else Not(formula)
                state = _announced(engine, state, said, line)
                rounds += 1
            case Apply(events, line):
                try:
                    state = engine.update(state, events)
                except FailedPrecondition as error:
                    raise FailedPrecondition(f"line {line}: {error.message}", reason=error.reason) from error
                rounds += 1
                most = max(most, state.worlds)  # an announcement never adds any
            case Repeat(announcement, until, line):
                while not engine.holds(state, until):
                    if engine.valid(state, announcement):
                        raise FailedPrecondition(
                            f"line {line}: the announcement teaches nobody anything any more, and what is waited for "
                            "is not so; wait for something that will be",
                            reason="ENDLESS_LOOP",
                        )
                    state = _announced(engine, state, announcement, line)
                    rounds += 1
    return Run(tuple(verdicts), rounds, time.perf_counter() - begun, most, state.nodes, state)


def _announced(engine: Engine, state: State, formula: Formula, line: int) -> State:
    try:
        return engine.announce(state, formula)
    except FailedPrecondition as error:
        raise FailedPrecondition(f"line {line}: {error.message}", reason=error.reason) from error
