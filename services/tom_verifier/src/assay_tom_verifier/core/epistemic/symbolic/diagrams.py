"""A pointed model as decision diagrams: events are written in fresh variables, as van Benthem, van Eijck, Gattinger and
Su (2018) have belief structures and transformers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Self

from assay_tom_verifier.core.epistemic.explicit.listed import Listed
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel
from assay_tom_verifier.core.epistemic.structure import Meanings, Product, Setting, Structure
from assay_tom_verifier.core.epistemic.symbolic.contraction import contract
from assay_tom_verifier.core.epistemic.symbolic.encoding import Encoding, encode, written
from assay_tom_verifier.core.epistemic.symbolic.listing import count_exactly, list_worlds
from assay_tom_verifier.core.epistemic.symbolic.manager import THERE, Diagram, Manager
from assay_tom_verifier.core.epistemic.symbolic.relation import Observing, Pairs, SymbolicRelation, meeting

# Up to so many worlds are contracted world by world, and written anew in as few variables as number them.
_LISTED_WORLDS = 4096


class Diagrams(Structure[Diagram]):
    """Sets of worlds are diagrams that mean something under the law alone: two that differ outside it are the same set.
    Reading the law in only where it is quantified over keeps diagrams small.
    """

    def __init__(self, manager: Manager, agents: tuple[str, ...], atoms: tuple[str, ...], encoding: Encoding) -> None:
        super().__init__()
        self.manager, self.agents, self.atoms, self.encoding = manager, agents, atoms, encoding
        self._meetings: dict[tuple[str, ...], SymbolicRelation] = {}

    def _with(self, encoding: Encoding) -> Self:
        return type(self)(self.manager, self.agents, self.atoms, encoding)

    @property
    def law(self) -> Diagram:
        return self.encoding.law

    @property
    def setting(self) -> Setting:
        return self.manager.setting

    def poll(self) -> None:
        self.manager.poll()

    def everything(self) -> Diagram:
        return self.manager.bdd.true

    def nothing(self) -> Diagram:
        return self.manager.bdd.false

    def atom(self, name: str) -> Diagram:
        return self.encoding.values[name]

    def complement(self, inner: Diagram) -> Diagram:
        return ~inner

    def box(self, agent: str, inner: Diagram) -> Diagram:
        self.poll()
        return ~self.encoding.relations[agent].failing(self.manager, self.law, inner)

    def box_distributed(self, agents: Sequence[str], inner: Diagram) -> Diagram:
        key = tuple(agents)
        if key not in self._meetings:
            self._meetings[key] = meeting(
                self.manager, [self.encoding.relations[agent] for agent in key], self.encoding.variables
            )
        return ~self._meetings[key].failing(self.manager, self.law, inner)

    def is_everything(self, inner: Diagram) -> bool:
        return bool(self.law & ~inner == self.manager.bdd.false)

    def has_point(self, inner: Diagram) -> bool:
        named = {self.manager.name(index): value for index, value in self.encoding.point.items()}
        return bool((self.manager.bdd.let(named, inner) if named else inner) == self.manager.bdd.true)

    def restricted(self, inner: Diagram) -> Self:
        return self._with(replace(self.encoding, law=self.law & inner))

    def product(self, events: EventModel, meanings: Meanings[Diagram]) -> Product[Diagram]:
        manager, bdd = self.manager, self.manager.bdd
        number = {name: place for place, name in enumerate(events.events)}
        fresh = _unused(self.encoding.variables, (len(number) - 1).bit_length())
        variables = (*self.encoding.variables, *fresh)
        manager.declare(max(variables, default=-1) + 1)
        is_event = {name: manager.among([place], fresh) for name, place in number.items()}
        law = self.law & manager.any_of([is_event[name] & meanings.pre[name] for name in number])
        values = {}
        for atom in self.atoms:
            manager.poll()
            value = kept = self.encoding.values[atom]
            if any(atom in event.post for event in events.events.values()):
                post = meanings.post
                value = manager.any_of([is_event[name] & post[name].get(atom, kept) for name in number])
            values[atom] = value
        relations = {}
        for agent in self.agents:
            manager.poll()
            seen: dict[frozenset[str], list[int]] = {}
            for name, place in number.items():
                seen.setdefault(frozenset(events.relations[agent][name]), []).append(place)
            pairs = manager.any_of(
                [
                    manager.among(sources, fresh) & manager.among(sorted(number[name] for name in inside), fresh, THERE)
                    for inside, sources in seen.items()
                ]
            )
            relations[agent] = Pairs(self.encoding.relations[agent].pairs(manager) & pairs, variables)
        point = {**self.encoding.point, **written(number[events.point], fresh)}
        structure = self._with(Encoding(variables, law, values, relations, point))

        def pull_back(inner: Diagram, event: str) -> Diagram:
            named = {manager.name(i): bit for i, bit in written(number[event], fresh).items()}
            return bdd.let(named, inner) if named else inner

        return Product(structure, pull_back)

    def updated(self, events: EventModel, meanings: Meanings[Diagram], prune: bool) -> tuple[Structure[Any], int]:
        made = self.product(events, meanings).structure
        whole = made.count()
        return (made.pruned() if prune else made), whole

    @property
    def observational(self) -> bool:
        """Whether every agent sees by observing variables, and atoms are variables: all worlds differ in facts."""
        return all(isinstance(relation, Observing) for relation in self.encoding.relations.values())

    def pruned(self) -> Diagrams:
        """A law by observation is left as it is: what leaves worlds out that nobody considers makes it longer."""
        if self.observational:
            return self
        found = self.manager.bdd.cube({self.manager.name(i): bit for i, bit in self.encoding.point.items()})
        while True:
            before = found
            for relation in self.encoding.relations.values():
                self.poll()
                found |= relation.image(self.manager, self.law, found)
            if found == before:
                return self._with(replace(self.encoding, law=found))

    def contracted(self) -> Diagrams:
        if self.observational:
            return self
        if (worlds := self.count()) <= _LISTED_WORLDS:
            listed = self._listed()
            smaller = listed.contracted()
            if smaller is listed and len(self.encoding.variables) == (worlds - 1).bit_length():
                return self  # written in as few variables as can be already
            return self._with(encode(smaller, self.manager))
        return self._with(contract(self.encoding, self.manager))

    def _listed(self) -> Listed:
        return list_worlds(self.encoding, self.agents, self.atoms, self.manager)

    def count(self) -> int:
        return count_exactly(self.encoding, self.manager)

    def nodes(self) -> int:
        return len(self.manager.bdd)

    def blind(self) -> tuple[str, ...]:
        false = self.manager.bdd.false
        return tuple(
            agent
            for agent, relation in self.encoding.relations.items()
            if isinstance(relation, Pairs) and self.law & ~relation.failing(self.manager, self.law, false) != false
        )

    def considered(self, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        worlds = self.manager.bdd.cube({self.manager.name(i): bit for i, bit in self.encoding.point.items()})
        for agent in chain:
            worlds = self.encoding.relations[agent].image(self.manager, self.law, worlds)
        found = {frozenset[str](): worlds}
        for atom in atoms:
            self.poll()
            value = self.encoding.values[atom]
            split = [(true, rest & ~value) for true, rest in found.items()]
            split += [(true | {atom}, rest & value) for true, rest in found.items()]
            found = {true: rest for true, rest in split if rest != self.manager.bdd.false}
        return frozenset(found)

    def exported(self) -> EpistemicModel:
        return self._listed().exported()


def _unused(variables: Sequence[int], count: int) -> tuple[int, ...]:
    taken, found, index = set(variables), list[int](), 0
    while len(found) < count:
        if index not in taken:
            found.append(index)
        index += 1
    return tuple(found)
