"""The step that draws a story: who believes what, and the epistemic models behind it."""

from __future__ import annotations

from assay.cancel import CancelToken
from assay.engine.step import StepContext
from assay.errors import InvalidInput, ResourceExhausted
from assay.tom_verifier.v1 import stories_pb2 as api
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.models import EpistemicModel
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.grammar import composed
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.engine_stories import believe, every_chain
from assay_tom_verifier.report import MAX_PANELS, KripkeGraph, belief_timeline, kripke_graphs, some_of
from assay_tom_verifier.translate import PROFILES, chains_of

DRAWN_LINES, DRAWN_CHAINS = 200, 64


def draw(request: api.DrawStoryRequest, context: StepContext) -> api.DrawStoryResponse:
    story = parse_story(request.story).story
    if (lines := len(story.lines)) > DRAWN_LINES:
        raise ResourceExhausted(
            f"story: has {lines:,} lines, {DRAWN_LINES} at most in a picture; draw its first {DRAWN_LINES}, or have it "
            "simulated",
            reason="PICTURE_TOO_LARGE",
        )
    if not story.things:
        raise InvalidInput("story", "says of no object where it is; there is nothing to draw")
    thing = composed(request.thing) or story.things[0]
    order = request.max_order if request.HasField("max_order") else 1
    chains = chains_of(request.chains) or every_chain(story, order, 1)
    if len(chains) > DRAWN_CHAINS:
        raise ResourceExhausted(
            f"chains: are {len(chains)}, {DRAWN_CHAINS} at most in a picture; name fewer", reason="PICTURE_TOO_LARGE"
        )
    profile = PROFILES[request.profile]
    steps = believe(story, chains, thing, profile, api.BELIEF_ENGINE_TABLE, context)
    timeline = belief_timeline(
        [f"{line.number} {line.text}" for line in story.lines],
        [" > ".join(chain) or "really" for chain in chains],
        [[step[chain].container for step in steps] for chain in chains],
        thing,
        context.cancel,
    )
    return api.DrawStoryResponse(timeline=timeline, models=draw_models(story, thing, profile, context.cancel))


def draw_models(story: Story, thing: str, profile: Profile, cancel: CancelToken) -> bytes:
    """SVG: the contracted model after each line that changed it; a world is labelled with where the object is."""
    engine = ExplicitEngine(cancel=cancel)
    updates = [(line, state) for line, state, updated in DelEngine(engine).states(story, thing, profile) if updated]
    shown = [updates[index] for index in some_of(len(updates), MAX_PANELS)]
    graphs = [graph_of(engine.export(state), f"{line.number} {line.text}") for line, state in shown]
    return kripke_graphs(graphs, cancel)


def graph_of(model: EpistemicModel, title: str) -> KripkeGraph:
    """Any model as a graph: a world's label is the atoms true there."""
    place = {world: index for index, world in enumerate(model.worlds)}
    edges = {
        agent: sorted((place[start], place[end]) for start, ends in relation.items() for end in ends)
        for agent, relation in model.relations.items()
    }
    labels = tuple(", ".join(sorted(atoms)) or "nowhere yet" for atoms in model.worlds.values())
    return KripkeGraph(title, labels, edges, place[model.point])
