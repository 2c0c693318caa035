"""Formulas of dynamic epistemic logic, as frozen trees.

Van Ditmarsch, van der Hoek and Kooi, Dynamic Epistemic Logic (2007), chapters 2, 4 and 6. Conjunctions and
disjunctions take any number of parts, so that "one of sixty" is one level deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.errors import ResourceExhausted

if TYPE_CHECKING:
    from assay_tom_verifier.core.epistemic.models import EventModel

# Deeper formulas are refused before anything walks them: every walk is recursive, and Python's stack is not deep.
MAX_DEPTH = 64


@dataclass(frozen=True)
class Constant:
    value: bool


@dataclass(frozen=True)
class Atom:
    name: str


@dataclass(frozen=True)
class Not:
    inner: Formula


@dataclass(frozen=True)
class And:
    """True where all parts are; of no parts, true."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """True where some part is; of no parts, false."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Implies:
    premise: Formula
    conclusion: Formula


@dataclass(frozen=True)
class Iff:
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Knows:
    """K[agent] inner: true at every world that the agent cannot tell from this one."""

    agent: str
    inner: Formula


@dataclass(frozen=True)
class Believes:
    """B[agent] inner: the same box, under the name it has where the agent may be wrong."""

    agent: str
    inner: Formula


@dataclass(frozen=True)
class KnowsWhether:
    """Kw[agent] inner: K[agent] inner, or K[agent] of its negation."""

    agent: str
    inner: Formula


@dataclass(frozen=True)
class Common:
    """C[agents] inner: true at every world that one or more steps along anyone's relation lead to."""

    agents: tuple[str, ...]
    inner: Formula


@dataclass(frozen=True)
class Distributed:
    """D[agents] inner: true at every world that none of the agents rules out."""

    agents: tuple[str, ...]
    inner: Formula


@dataclass(frozen=True)
class Announced:
    """[!announcement] inner: where the announcement is true, inner is true once everyone has heard it."""

    announcement: Formula
    inner: Formula


@dataclass(frozen=True)
class After:
    """[events, event] inner: where the event can happen, inner is true once it has."""

    events: EventModel
    event: str
    inner: Formula


Formula = (
    Constant | Atom | Not | And | Or | Implies | Iff | Knows | Believes | KnowsWhether | Common | Distributed
    | Announced | After
)  # fmt: skip

TRUE, FALSE = Constant(True), Constant(False)


def children(formula: Formula) -> Iterator[Formula]:
    """The formulas one level down; of an event model, every precondition and assigned formula."""
    match formula:
        case And(parts) | Or(parts):
            yield from parts
        case Implies(first, second) | Iff(first, second) | Announced(first, second):
            yield first
            yield second
        case After(events, _, inner):
            yield inner
            yield from events.formulas()
        case Constant() | Atom():
            return
        case _:
            yield formula.inner


def check_depth(formula: Formula, field: str = "formula") -> None:
    """Raises ResourceExhausted where `formula` has more than MAX_DEPTH levels; walks no deeper than that."""
    level, seen = [formula], 0
    while level:
        if (seen := seen + 1) > MAX_DEPTH:
            raise ResourceExhausted(
                f"{field}: is more than {MAX_DEPTH} levels deep; name its parts and claim them one by one",
                reason="FORMULA_TOO_DEEP",
            )
        # A part that stands in several places counts once a level, or shared parts would double with every level.
        level = list({id(child): child for parent in level for child in children(parent)}.values())


def parts(formula: Formula) -> Iterator[Formula]:
    """The formula and everything within it; what stands in several places comes once."""
    pending, seen = [formula], set[int]()
    while pending:
        part = pending.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            pending.extend(children(part))


def uses_distributed(formula: Formula) -> bool:
    """Whether D[...] stands anywhere within."""
    return any(isinstance(part, Distributed) for part in parts(formula))
