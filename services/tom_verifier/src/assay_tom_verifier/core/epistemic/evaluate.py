"""Where a formula is true: one walk for every backend."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_

from assay_tom_verifier.core.epistemic.formulas import (
    After,
    And,
    Announced,
    Atom,
    Believes,
    Common,
    Constant,
    Distributed,
    Formula,
    Iff,
    Implies,
    Knows,
    KnowsWhether,
    Not,
    Or,
)
from assay_tom_verifier.core.epistemic.models import EventModel
from assay_tom_verifier.core.epistemic.structure import Meanings, SetT, Structure


def extension(formula: Formula, structure: Structure[SetT]) -> SetT:
    """The worlds of `structure` where `formula`, checked before, is true."""
    if (found := structure.known.get(id(formula))) is not None:
        return found[1]
    structure.poll()
    worlds = _extension(formula, structure)
    structure.poll()
    structure.known[id(formula)] = (formula, worlds)
    return worlds


def _extension(formula: Formula, structure: Structure[SetT]) -> SetT:
    match formula:
        case Constant(value):
            return structure.everything() if value else structure.nothing()
        case Atom(name):
            return structure.atom(name)
        case Not(inner):
            return structure.complement(extension(inner, structure))
        case And(parts):
            return reduce(and_, (extension(part, structure) for part in parts), structure.everything())
        case Or(parts):
            return reduce(or_, (extension(part, structure) for part in parts), structure.nothing())
        case Implies(premise, conclusion):
            return structure.complement(extension(premise, structure)) | extension(conclusion, structure)
        case Iff(left, right):
            first, second = extension(left, structure), extension(right, structure)
            return (first & second) | structure.complement(first | second)
        case Knows(agent, inner) | Believes(agent, inner):
            return structure.box(agent, extension(inner, structure))
        case KnowsWhether(agent, inner):
            worlds = extension(inner, structure)
            return structure.box(agent, worlds) | structure.box(agent, structure.complement(worlds))
        case Distributed(agents, inner):
            return structure.box_distributed(agents, extension(inner, structure))
        case Common(agents, inner):
            return _common(agents, extension(inner, structure), structure)
        case Announced(announcement, inner):
            heard = extension(announcement, structure)
            return structure.complement(heard) | extension(inner, structure.restricted(heard))
        case After(events, event, inner):
            meant = meanings(events, structure)
            product = structure.product(events, meant)
            after = product.pull_back(extension(inner, product.structure), event)
            return structure.complement(meant.pre[event]) | after


def _common(agents: tuple[str, ...], inner: SetT, structure: Structure[SetT]) -> SetT:
    """Greatest X with X = the conjunction of all boxes of (inner and X)."""
    worlds = structure.everything()
    while True:
        structure.poll()
        smaller = worlds
        for agent in agents:
            # Each agent takes what the last has ruled out already; the fixpoint is the same and nearer.
            smaller = smaller & structure.box(agent, inner & smaller)
        if smaller == worlds:
            return worlds
        worlds = smaller


def meanings(events: EventModel, structure: Structure[SetT]) -> Meanings[SetT]:
    """Where each precondition and each assigned formula is true before the event."""
    return Meanings(
        {name: extension(event.pre, structure) for name, event in events.events.items()},
        {
            name: {atom: extension(value, structure) for atom, value in event.post.items()}
            for name, event in events.events.items()
        },
    )
