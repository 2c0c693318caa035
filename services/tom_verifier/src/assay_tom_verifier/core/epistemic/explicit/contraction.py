"""Which worlds no formula tells apart: partition refinement (Kanellakis and Smolka 1983, by signatures)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from assay.cancel import CancelToken
from assay_tom_verifier.core.epistemic.explicit.polling import polled
from assay_tom_verifier.core.epistemic.explicit.relation import Relation


def blocks_of(facts: list[int], relations: Mapping[str, Relation], cancel: CancelToken) -> list[int]:
    """For each world the number of its block of bisimilar worlds; blocks count from 0 in order of appearance.

    Starts from equal facts and splits by the blocks that each agent sees, until a round splits nothing.
    """
    block, count = _numbered(facts, cancel)
    while count < len(facts):
        keys: list[list[int]] = [block]
        for relation in relations.values():
            seen, _ = _numbered(
                (frozenset([block[world] for world in cluster]) for cluster in relation.clusters), cancel
            )
            seen.append(-1)  # where `sees` is -1
            keys.append([seen[cluster] for cluster in relation.sees])
        block, finer = _numbered(zip(*keys, strict=True), cancel)
        if finer == count:
            break
        count = finer
    return block


def _numbered(keys: Iterable[Hashable], cancel: CancelToken) -> tuple[list[int], int]:
    number: dict[Hashable, int] = {}
    return [number.setdefault(key, len(number)) for key in polled(keys, cancel)], len(number)
