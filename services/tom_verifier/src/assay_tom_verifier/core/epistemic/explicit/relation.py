"""One agent's relation, by what is seen instead of pair by pair."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from assay.cancel import CancelToken
from assay_tom_verifier.core.epistemic.explicit.bits import as_array, as_bits, from_array
from assay_tom_verifier.core.epistemic.explicit.polling import polled

# Masks of more bits than these in all would cost more than one pass over the worlds.
_MASK_BITS = 1 << 22


class Relation:
    """A transitive Euclidean relation: a world sees one cluster or nothing, and clusters never overlap.

    For if w sees v, then v sees exactly what w sees. Product updates keep both properties, so nothing else is met.
    sees: for each world the cluster it sees, -1 for none. clusters: the worlds of each.
    """

    def __init__(self, sees: list[int], clusters: list[tuple[int, ...]]) -> None:
        self.sees = sees
        self.clusters = clusters

    @property
    def blind(self) -> bool:
        """Whether some world sees nothing."""
        return -1 in self.sees

    @cached_property
    def inside(self) -> list[int]:
        """For each world the cluster it belongs to, -1 for none."""
        inside = [-1] * len(self.sees)
        for number, cluster in enumerate(self.clusters):
            for world in cluster:
                inside[world] = number
        return inside

    @cached_property
    def _masks(self) -> list[tuple[int, int]]:
        """For each cluster who sees it and who belongs to it."""
        sources = [0] * len(self.clusters)
        for world, number in enumerate(self.sees):
            if number >= 0:
                sources[number] |= 1 << world
        return [(seen, as_bits(cluster, len(self.sees))) for seen, cluster in zip(sources, self.clusters, strict=True)]

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """`sees` and `inside`; -1 counts from the end, where `failing` keeps a slot that is never set."""
        return np.array(self.sees, dtype=np.intp), np.array(self.inside, dtype=np.intp)

    def failing(self, outside: int) -> int:
        """Worlds that see some world of the set `outside`."""
        if not outside:
            return 0
        if len(self.clusters) * len(self.sees) <= _MASK_BITS:
            found = 0
            for sources, belonging in self._masks:
                if belonging & outside:
                    found |= sources
            return found
        sees, inside = self._arrays
        met = np.zeros(len(self.clusters) + 1, dtype=bool)
        met[inside[as_array(outside, len(self.sees))]] = True
        met[-1] = False
        return from_array(met[sees])


def intersection(relations: list[Relation], cancel: CancelToken) -> Relation:
    """The intersection: what none of the agents rules out."""
    belonging: dict[tuple[int, ...], list[int]] = {}
    inside = zip(*(relation.inside for relation in relations), strict=True)
    for world, key in polled(enumerate(inside), cancel):
        if -1 not in key:
            belonging.setdefault(key, []).append(world)
    number = {key: index for index, key in enumerate(belonging)}
    seen = zip(*(relation.sees for relation in relations), strict=True)
    sees = [number.get(key, -1) for key in polled(seen, cancel)]
    return Relation(sees, [tuple(worlds) for worlds in belonging.values()])
