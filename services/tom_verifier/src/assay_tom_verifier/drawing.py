"""A story's epistemic models as graphs."""

from __future__ import annotations

from assay.cancel import CancelToken
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.models import EpistemicModel
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.report import KripkeGraph, kripke_graphs


def draw_models(story: Story, thing: str, profile: Profile, cancel: CancelToken) -> bytes:
    """SVG: the contracted model after each line that changed it; a world is labelled with where the object is."""
    engine = ExplicitEngine(cancel=cancel)
    return kripke_graphs(
        [
            graph_of(engine.export(state), f"{line.number} {line.text}")
            for line, state, updated in DelEngine(engine).states(story, thing, profile)
            if updated
        ]
    )


def graph_of(model: EpistemicModel, title: str) -> KripkeGraph:
    """Any model as a graph: a world's label is the atoms true there."""
    place = {world: index for index, world in enumerate(model.worlds)}
    edges = {
        agent: sorted((place[start], place[end]) for start, ends in relation.items() for end in ends)
        for agent, relation in model.relations.items()
    }
    labels = tuple(", ".join(sorted(atoms)) or "nowhere yet" for atoms in model.worlds.values())
    return KripkeGraph(title, labels, edges, place[model.point])
