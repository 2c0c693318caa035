"""Belief by dynamic epistemic logic: each sentence updates a pointed Kripke model, and chains are read off it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from assay_tom_verifier.core.epistemic.engine import Engine, State
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.models import EpistemicModel
from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Profile
from assay_tom_verifier.core.stories.chains import check_asked
from assay_tom_verifier.core.stories.event_models import EventCompiler, containers_of, initial_model
from assay_tom_verifier.core.stories.events import Line, Story
from assay_tom_verifier.core.stories.scene import Scene

_UNKNOWN = Belief(None, "the chain holds no container possible yet", 0)


class DelEngine:
    """`TableEngine`'s answers from first principles. engine: any backend; by default worlds are listed."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or ExplicitEngine()

    def states(self, story: Story, thing: str, profile: Profile = Profile.HITOM) -> Iterator[tuple[Line, State, bool]]:
        """After each line: the line, the pointed model, and whether the line updated it.

        Atoms are the containers that the story names for `thing`. Raises InvalidInput for an object that it lacks,
        and what the backend raises over its limits.
        """
        check_asked(story, (), thing)
        agents, containers = story.agents, containers_of(story, thing)
        compiler = EventCompiler(agents, containers, thing, profile, self._engine.setting.cancel)
        scene = Scene()
        state = self._engine.load(initial_model(agents, containers))
        for line in story.lines:
            scene.advance(line.event)
            events = compiler.compile(line.event, scene, f"line_{line.number}")
            if events is not None:
                state = self._engine.update(state, events)
            yield line, state, events is not None

    def believe(
        self, story: Story, chains: Iterable[Chain], thing: str, profile: Profile = Profile.HITOM
    ) -> list[dict[Chain, Belief]]:
        """As `TableEngine.believe`; a belief's rule names the sentence whose update last changed it."""
        table = dict.fromkeys(chains, _UNKNOWN)
        check_asked(story, table, thing)
        steps = []
        for line, state, updated in self.states(story, thing, profile):
            if updated:
                model = self._engine.export(state)
                table = {chain: _after(belief, _container(model, chain), line) for chain, belief in table.items()}
            steps.append(table)
        return steps


def _container(model: EpistemicModel, chain: Chain) -> str | None:
    """What is true at the world that the chain leads to: here every agent holds just one possible."""
    world = model.point
    for agent in chain:
        (world,) = model.relations[agent][world]
    return next(iter(model.worlds[world]), None)


def _after(belief: Belief, container: str | None, line: Line) -> Belief:
    if belief.container == container:
        return belief
    return Belief(container, f'product update with "{line.text}"', line.number)
