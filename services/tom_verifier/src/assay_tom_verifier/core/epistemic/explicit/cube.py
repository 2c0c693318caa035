"""A knowledge structure whose worlds are the corners of a cube: one bit for every valuation of its atoms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np

from assay_tom_verifier.core.epistemic.explicit.bits import as_array, as_bits, from_array, members
from assay_tom_verifier.core.epistemic.explicit.listed import Listed
from assay_tom_verifier.core.epistemic.explicit.polling import polled
from assay_tom_verifier.core.epistemic.explicit.product import check_room
from assay_tom_verifier.core.epistemic.explicit.relation import Relation
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel
from assay_tom_verifier.core.epistemic.structure import Meanings, Product, Setting, Structure


class Cube(Structure[int]):
    """Bit i of a set stands for the valuation where atoms[j] is true if bit j of i is.

    What an agent does not observe it runs over: its box is a conjunction with the set shifted along that atom's axis,
    2^n bits at a time. present: the valuations that the law, and what was announced, allow.
    """

    def __init__(
        self,
        agents: tuple[str, ...],
        atoms: tuple[str, ...],
        observes: Mapping[str, Collection[str]],
        point: int,
        present: int,
        setting: Setting,
    ) -> None:
        super().__init__()
        self.agents, self.atoms, self._setting = agents, atoms, setting
        self.observes, self.point = observes, point
        self._present = present

    @property
    def setting(self) -> Setting:
        return self._setting

    def everything(self) -> int:
        return self._present

    def nothing(self) -> int:
        return 0

    def atom(self, name: str) -> int:
        j = self.atoms.index(name)
        return (_low(j, len(self.atoms)) << (1 << j)) & self._present

    def complement(self, inner: int) -> int:
        return self._present & ~inner

    def box(self, agent: str, inner: int) -> int:
        self.poll()
        return self._present & ~self._spread(self.observes[agent], self._present & ~inner)

    def box_distributed(self, agents: Sequence[str], inner: int) -> int:
        together = {atom for agent in agents for atom in self.observes[agent]}
        return self._present & ~self._spread(together, self._present & ~inner)

    def _spread(self, observed: Collection[str], worlds: int) -> int:
        """`worlds`, and every valuation that differs from one of them in atoms not observed alone."""
        if not worlds:
            return 0
        for j, atom in enumerate(self.atoms):
            if atom not in observed:
                low = _low(j, len(self.atoms))
                either = (worlds | worlds >> (1 << j)) & low
                worlds = either | either << (1 << j)
        return worlds

    def is_everything(self, inner: int) -> bool:
        return inner == self._present

    def has_point(self, inner: int) -> bool:
        return bool(inner >> self.point & 1)

    def restricted(self, inner: int) -> Self:
        return type(self)(self.agents, self.atoms, self.observes, self.point, inner, self.setting)

    def product(self, events: EventModel, meanings: Meanings[int]) -> Product[int]:
        worlds, inside, product = self._multiplicand(events, meanings)
        made = product.product(events, inside)
        return Product(
            made.structure,
            lambda inner, event: as_bits(
                (worlds[place] for place in members(made.pull_back(inner, event))), 1 << len(self.atoms)
            ),
        )

    def updated(self, events: EventModel, meanings: Meanings[int], prune: bool) -> tuple[Structure[Any], int]:
        _, inside, product = self._multiplicand(events, meanings)
        return product.updated(events, inside, prune)

    def _multiplicand(self, events: EventModel, meanings: Meanings[int]) -> tuple[list[int], Meanings[int], Listed]:
        """Events leave the cube: its worlds listed, and the sets that `meanings` speaks of among them."""
        check_room(self._present, events, self.setting)
        worlds = members(self._present)
        places = np.array(worlds, dtype=np.intp)

        def listed(inner: int) -> int:
            return from_array(as_array(inner, 1 << len(self.atoms))[places])

        pre = {event: listed(where) for event, where in meanings.pre.items()}
        post = {event: {atom: listed(s) for atom, s in each.items()} for event, each in meanings.post.items()}
        return worlds, Meanings(pre, post), self._listed(worlds)

    def _listed(self, worlds: list[int]) -> Listed:
        relations = {}
        for agent in self.agents:
            self.poll()
            observed = sum(1 << j for j, atom in enumerate(self.atoms) if atom in self.observes[agent])
            alike: dict[int, list[int]] = {}
            for place, world in polled(enumerate(worlds), self.setting.cancel):
                alike.setdefault(world & observed, []).append(place)
            number = {key: index for index, key in enumerate(alike)}
            relations[agent] = Relation(
                [number[world & observed] for world in worlds], [tuple(places) for places in alike.values()]
            )
        # An announcement within a formula may have left the actual world out; then nobody asks for the point.
        point = worlds.index(self.point) if self.has_point(self._present) else 0
        return Listed(self.agents, self.atoms, worlds, relations, point, self.setting)

    def pruned(self) -> Cube:
        found = frontier = 1 << self.point
        while frontier:
            self.poll()
            before = found
            for agent in self.agents:
                found |= self._present & self._spread(self.observes[agent], found)
            frontier = found & ~before
        return self if found == self._present else self.restricted(found)

    def contracted(self) -> Cube:
        # No two worlds have the same facts, so no two are bisimilar.
        return self

    def count(self) -> int:
        return self._present.bit_count()

    def nodes(self) -> None:
        return None

    def blind(self) -> tuple[str, ...]:
        return ()  # every world is like itself

    def considered(self, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        worlds = 1 << self.point
        for agent in chain:
            worlds = self._present & self._spread(self.observes[agent], worlds)
        wanted = [(1 << self.atoms.index(atom), atom) for atom in atoms]
        return frozenset(frozenset(atom for bit, atom in wanted if world & bit) for world in members(worlds))

    def exported(self) -> EpistemicModel:
        return self._listed(members(self._present)).exported()


# 64 masks of 2^20 bits are 8 MiB.
@lru_cache(maxsize=64)
def _low(j: int, size: int) -> int:
    """Of the 2^size valuations those where atom j is false."""
    bits, width = (1 << (1 << j)) - 1, 2 << j
    while width < 1 << size:
        bits |= bits << width
        width *= 2
    return bits
