"""Declarations as explicit structures."""

from __future__ import annotations

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.epistemic.evaluate import extension
from assay_tom_verifier.core.epistemic.explicit.cube import Cube
from assay_tom_verifier.core.epistemic.explicit.listed import Listed
from assay_tom_verifier.core.epistemic.explicit.relation import Relation
from assay_tom_verifier.core.epistemic.frames import successor_sets
from assay_tom_verifier.core.epistemic.models import EpistemicModel, KnowledgeStructure
from assay_tom_verifier.core.epistemic.structure import Setting


def load_listed(model: EpistemicModel, setting: Setting) -> Listed:
    """Raises ResourceExhausted where there are more worlds than the cap."""
    if len(model.worlds) > setting.limits.worlds:
        raise ResourceExhausted(
            f"worlds: are {len(model.worlds):,}, over the cap of {setting.limits.worlds:,}; leave out those that no "
            "agent considers, or raise the cap",
            reason="TOO_MANY_WORLDS",
        )
    number = {world: index for index, world in enumerate(model.worlds)}
    bit = {atom: 1 << index for index, atom in enumerate(model.atoms)}
    facts = [sum(bit[atom] for atom in set(true)) for true in model.worlds.values()]
    relations = {}
    for agent in model.agents:
        seen = successor_sets(model.relations[agent], model.worlds)
        clusters = {id(each): each for each in seen.values() if each}
        place = {key: index for index, key in enumerate(clusters)}
        relations[agent] = Relation(
            [place.get(id(each), -1) for each in seen.values()],
            [tuple(sorted(number[world] for world in cluster)) for cluster in clusters.values()],
        )
    return Listed(model.agents, model.atoms, facts, relations, number[model.point], setting)


def load_cube(model: KnowledgeStructure, setting: Setting) -> Cube:
    """Raises ResourceExhausted where there are more valuations than the cap on worlds, InvalidInput against the law."""
    if (valuations := 1 << len(model.atoms)) > setting.limits.worlds:
        raise ResourceExhausted(
            f"atoms: are {len(model.atoms)}, and 2^{len(model.atoms)} valuations are over the cap of "
            f"{setting.limits.worlds:,} worlds; use the bdd backend",
            reason="TOO_MANY_WORLDS",
        )
    point = sum(1 << model.atoms.index(atom) for atom in set(model.actual))
    observes = {agent: frozenset(model.observes.get(agent, ())) for agent in model.agents}
    everything = Cube(model.agents, model.atoms, observes, point, (1 << valuations) - 1, setting)
    lawful = extension(model.law, everything)
    if not everything.has_point(lawful):
        raise InvalidInput("actual", "breaks the law; name the atoms of a valuation that the law allows")
    return everything.restricted(lawful)
