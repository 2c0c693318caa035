"""One agent's relation: what it observes, or which pairs of worlds it holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from assay_tom_verifier.core.epistemic.symbolic.manager import HERE, THERE, Diagram, Manager


@dataclass(frozen=True)
class Observing:
    """Two worlds are alike where they agree on `observed`; hidden: the other variables."""

    observed: frozenset[int]
    hidden: tuple[int, ...]

    def failing(self, manager: Manager, law: Diagram, inner: Diagram) -> Diagram:
        """Worlds that see one that is lawful and outside `inner`."""
        if (index := _variable(inner)) in self.hidden:
            # Of one variable, which is all that muddy children ask about: a cofactor, and one variable less to go.
            rest = manager.bdd.let({manager.name(index): inner != manager.var(index)}, law)
            others = [i for i in self.hidden if i != index]
            return manager.bdd.exist([manager.name(i) for i in others], rest) if others else rest
        return manager.some(law, ~inner, self.hidden)

    def image(self, manager: Manager, law: Diagram, worlds: Diagram) -> Diagram:
        return law & manager.some(worlds, law, self.hidden)

    def pairs(self, manager: Manager) -> Diagram:
        """As a diagram over here and there."""
        return manager.alike(self.observed, HERE, THERE)


@dataclass(frozen=True)
class Pairs:
    """diagram: over variables here and there, true of a world and what it sees; successors need not be lawful."""

    diagram: Diagram
    variables: tuple[int, ...]

    def failing(self, manager: Manager, law: Diagram, inner: Diagram) -> Diagram:
        outside = manager.moved(law & ~inner, self.variables, {HERE: THERE})
        return manager.some(self.diagram, outside, self.variables, THERE)

    def image(self, manager: Manager, law: Diagram, worlds: Diagram) -> Diagram:
        """Lawful worlds that one of `worlds` sees."""
        there = manager.some(self.diagram, worlds & law, self.variables)
        return law & manager.moved(there, self.variables, {THERE: HERE})

    def pairs(self, manager: Manager) -> Diagram:
        return self.diagram


def _variable(diagram: Diagram) -> int | None:
    """Of a diagram that is one variable here or its negation, which."""
    if diagram.var is None or diagram.low.var is not None or diagram.high.var is not None:
        return None
    return int(diagram.var[1:])


SymbolicRelation = Observing | Pairs


def meeting(manager: Manager, relations: Sequence[SymbolicRelation], variables: tuple[int, ...]) -> SymbolicRelation:
    """The intersection: what none of the agents rules out."""
    observing = [relation for relation in relations if isinstance(relation, Observing)]
    if len(observing) == len(relations):
        observed: Collection[int] = frozenset().union(*(relation.observed for relation in observing))
        return Observing(frozenset(observed), tuple(i for i in variables if i not in observed))
    diagram = manager.bdd.true
    for relation in relations:
        diagram &= relation.pairs(manager)
    return Pairs(diagram, variables)
