"""A Kripke model whose worlds are numbered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from assay_tom_verifier.core.epistemic.explicit.bits import as_bits, members
from assay_tom_verifier.core.epistemic.explicit.contraction import blocks_of
from assay_tom_verifier.core.epistemic.explicit.polling import polled
from assay_tom_verifier.core.epistemic.explicit.product import multiply
from assay_tom_verifier.core.epistemic.explicit.relation import Relation, intersection
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel, Frame
from assay_tom_verifier.core.epistemic.structure import Meanings, Product, Setting, Structure


class Listed(Structure[int]):
    """facts: for each world the set of its true atoms, bit j for atoms[j]. present: worlds that an announcement left.

    relations speak of all numbered worlds; those not present are skipped over wherever one looks.
    """

    def __init__(
        self,
        agents: tuple[str, ...],
        atoms: tuple[str, ...],
        facts: list[int],
        relations: Mapping[str, Relation],
        point: int,
        setting: Setting,
        present: int | None = None,
    ) -> None:
        super().__init__()
        self.agents, self.atoms, self._setting = agents, atoms, setting
        self.facts, self.relations, self.point = facts, relations, point
        self._present = (1 << len(facts)) - 1 if present is None else present
        self._intersections: dict[tuple[str, ...], Relation] = {}

    @property
    def setting(self) -> Setting:
        return self._setting

    def everything(self) -> int:
        return self._present

    def nothing(self) -> int:
        return 0

    def atom(self, name: str) -> int:
        bit = 1 << self.atoms.index(name)
        facts = polled(enumerate(self.facts), self.setting.cancel)
        return as_bits((world for world, true in facts if true & bit), len(self.facts)) & self._present

    def complement(self, inner: int) -> int:
        return self._present & ~inner

    def box(self, agent: str, inner: int) -> int:
        self.poll()
        return self._present & ~self.relations[agent].failing(self._present & ~inner)

    def box_distributed(self, agents: Sequence[str], inner: int) -> int:
        key = tuple(agents)
        if key not in self._intersections:
            self._intersections[key] = intersection([self.relations[agent] for agent in key], self.setting.cancel)
        return self._present & ~self._intersections[key].failing(self._present & ~inner)

    def is_everything(self, inner: int) -> bool:
        return inner == self._present

    def has_point(self, inner: int) -> bool:
        return bool(inner >> self.point & 1)

    def restricted(self, inner: int) -> Self:
        return type(self)(self.agents, self.atoms, self.facts, self.relations, self.point, self.setting, inner)

    def product(self, events: EventModel, meanings: Meanings[int]) -> Product[int]:
        return self._multiplied(events, meanings, prune=False)[0]

    def updated(self, events: EventModel, meanings: Meanings[int], prune: bool) -> tuple[Structure[Any], int]:
        product, whole = self._multiplied(events, meanings, prune)
        return product.structure, whole

    def _multiplied(self, events: EventModel, meanings: Meanings[int], prune: bool) -> tuple[Product[int], int]:
        made = multiply(self.facts, self.relations, self.atoms, self._present, events, meanings, self.setting, (
            self.point if prune else None
        ))  # fmt: skip
        size = len(events.events)
        point = made.number.get(self.point * size + made.event_number[events.point], 0)
        structure = Listed(self.agents, self.atoms, made.facts, made.relations, point, self.setting)

        def pull_back(inner: int, event: str) -> int:
            number = made.event_number[event]
            inside = set(members(inner))
            pairs = polled(made.number.items(), self.setting.cancel)
            mine = (pair // size for pair, new in pairs if pair % size == number and new in inside)
            return as_bits(mine, len(self.facts))

        return Product(structure, pull_back), made.whole

    def _reachable(self) -> list[int]:
        """Numbers of the worlds that chains of agents lead to from the point, the point first."""
        left_out = set(members(~self._present & ((1 << len(self.facts)) - 1)))
        found = {self.point}
        met_clusters: set[tuple[str, int]] = set()
        queue = [self.point]
        for world in polled(queue, self.setting.cancel):
            for agent, relation in self.relations.items():
                cluster = relation.sees[world]
                if cluster >= 0 and (agent, cluster) not in met_clusters:
                    met_clusters.add((agent, cluster))
                    self.poll()
                    for other in relation.clusters[cluster]:
                        if other not in found and other not in left_out:
                            found.add(other)
                            queue.append(other)
        return queue

    def pruned(self) -> Listed:
        queue = self._reachable()
        if len(queue) == len(self.facts):
            return self
        return self._renumbered(queue, dict(zip(queue, range(len(queue)), strict=True)))

    def contracted(self) -> Listed:
        block = blocks_of(self.facts, self.relations, self.setting.cancel)
        first: dict[int, int] = {}
        for world, found in enumerate(block):
            first.setdefault(found, world)
        if len(first) == len(self.facts):
            return self
        # A block's own first world stands for it; what that world saw, the block sees.
        representatives = list(first.values())
        number = {old: new for new, old in enumerate(first)}
        return self._renumbered(representatives, {world: number[b] for world, b in enumerate(block)})

    def _renumbered(self, kept: list[int], new: Mapping[int, int]) -> Listed:
        """The model of the worlds `kept`; new: the number of each world, of some several the same."""
        relations = {}
        for agent, relation in self.relations.items():
            sees: list[int] = []
            # Clusters of bisimilar worlds become the same one; two of it would be taken for two things to see.
            clusters: dict[tuple[int, ...], int] = {}
            places: dict[int, int] = {}
            for world in polled(kept, self.setting.cancel):
                cluster = relation.sees[world]
                if cluster >= 0 and cluster not in places:
                    inside = tuple(sorted({new[v] for v in relation.clusters[cluster] if v in new}))
                    places[cluster] = clusters.setdefault(inside, len(clusters)) if inside else -1
                sees.append(places[cluster] if cluster >= 0 else -1)
            relations[agent] = Relation(sees, list(clusters))
        facts = [self.facts[world] for world in kept]
        return Listed(self.agents, self.atoms, facts, relations, new[self.point], self.setting)

    def count(self) -> int:
        return self._present.bit_count()

    def nodes(self) -> None:
        return None

    def blind(self) -> tuple[str, ...]:
        return tuple(agent for agent in self.agents if self.box(agent, 0))

    def considered(self, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        worlds, present = {self.point}, set(members(self._present))
        for agent in chain:
            relation = self.relations[agent]
            seen = {relation.sees[world] for world in worlds} - {-1}
            worlds = {v for cluster in seen for v in relation.clusters[cluster] if v in present}
        wanted = [(1 << self.atoms.index(atom), atom) for atom in atoms]
        return frozenset(frozenset(atom for bit, atom in wanted if self.facts[world] & bit) for world in worlds)

    def exported(self) -> EpistemicModel:
        order = sorted(members(self._present), key=lambda world: world != self.point)
        name = {world: f"w{index}" for index, world in enumerate(order)}
        relations = {}
        for agent, relation in self.relations.items():
            # One object for each cluster, however many worlds see it.
            inside = [tuple(name[v] for v in cluster if v in name) for cluster in relation.clusters]
            relations[agent] = {name[world]: inside[s] for world in order if (s := relation.sees[world]) >= 0}
        worlds = {
            name[world]: tuple(atom for j, atom in enumerate(self.atoms) if self.facts[world] >> j & 1)
            for world in order
        }
        return EpistemicModel(self.agents, self.atoms, worlds, relations, name[self.point], self._frame(relations))

    def _frame(self, relations: Mapping[str, Mapping[str, Collection[str]]]) -> Frame:
        """The strongest that the relations, as exported, are of."""
        if not all(len(seen) == self.count() and all(seen.values()) for seen in relations.values()):
            return Frame.K45
        present = members(self._present)
        reflexive = all(r.sees[world] == r.inside[world] for r in self.relations.values() for world in present)
        return Frame.S5 if reflexive else Frame.KD45
