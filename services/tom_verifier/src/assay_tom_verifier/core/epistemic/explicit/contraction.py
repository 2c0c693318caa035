"""Which worlds no formula tells apart: partition refinement (Kanellakis and Smolka 1983, by signatures)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from assay.cancel import CancelToken
from assay_tom_verifier.core.epistemic.explicit.relation import Relation


def blocks_of(facts: list[int], relations: Mapping[str, Relation], cancel: CancelToken) -> list[int]:
    """For each world the number of its block of bisimilar worlds; blocks count from 0 in order of appearance.

    Starts from equal facts and splits by the blocks that each agent sees, until a round splits nothing.
    """
    block, count = _numbered(facts)
    while count < len(facts):
        keys: list[list[int]] = [block]
        for relation in relations.values():
            cancel.check()
            seen, _ = _numbered([frozenset([block[world] for world in cluster]) for cluster in relation.clusters])
            seen.append(-1)  # where `sees` is -1
            keys.append([seen[cluster] for cluster in relation.sees])
        block, finer = _numbered(list(zip(*keys, strict=True)))
        if finer == count:
            break
        count = finer
    return block


def _numbered(keys: Sequence[Hashable]) -> tuple[list[int], int]:
    number: dict[Hashable, int] = {}
    return [number.setdefault(key, len(number)) for key in keys], len(number)
