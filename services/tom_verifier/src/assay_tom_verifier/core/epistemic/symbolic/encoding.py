"""A pointed model in diagrams of one manager; and listed worlds so written, world i by i in binary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay_tom_verifier.core.epistemic.explicit.listed import Listed
from assay_tom_verifier.core.epistemic.symbolic.manager import THERE, Diagram, Manager
from assay_tom_verifier.core.epistemic.symbolic.relation import Pairs, SymbolicRelation


@dataclass(frozen=True)
class Encoding:
    """A world is a valuation of `variables` that `law` is true of; values: where each atom is true."""

    variables: tuple[int, ...]
    law: Diagram
    values: Mapping[str, Diagram]
    relations: Mapping[str, SymbolicRelation]
    point: Mapping[int, bool]


def encode(model: Listed, manager: Manager) -> Encoding:
    """All of `model`'s worlds, in as few variables as number them."""
    size = len(model.facts)
    variables = tuple(range((size - 1).bit_length()))
    manager.declare(len(variables))
    values = {}
    for j, atom in enumerate(model.atoms):
        manager.poll()
        values[atom] = manager.among([world for world, facts in enumerate(model.facts) if facts >> j & 1], variables)
    relations = {}
    for agent, relation in model.relations.items():
        sources: list[list[int]] = [[] for _ in relation.clusters]
        for world, cluster in enumerate(relation.sees):
            if cluster >= 0:
                sources[cluster].append(world)
        diagram = manager.any_of(
            [
                manager.among(seeing, variables) & manager.among(cluster, variables, THERE)
                for seeing, cluster in zip(sources, relation.clusters, strict=True)
            ]
        )
        relations[agent] = Pairs(diagram, variables)
    law = manager.among(range(size), variables)
    return Encoding(variables, law, values, relations, written(model.point, variables))


def written(number: int, variables: Sequence[int]) -> dict[int, bool]:
    """The bits of a number, the first variable the highest."""
    return {i: bool(number >> (len(variables) - 1 - place) & 1) for place, i in enumerate(variables)}
