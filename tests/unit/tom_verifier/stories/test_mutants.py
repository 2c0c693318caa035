"""Would the comparison with the epistemic engine notice a wrong rule? Twenty-four wrong tables, all caught."""

from __future__ import annotations

import pytest
from unit.tom_verifier.stories.test_engines_agree import generated
from unit.tom_verifier.stories.wild import wild_story

from assay_tom_verifier.core.stories.beliefs import Chain, Profile
from assay_tom_verifier.core.stories.chains import all_chains
from assay_tom_verifier.core.stories.del_engine import DelEngine
from assay_tom_verifier.core.stories.events import Enter, Event, Locate, Move, PrivateClaim, Story
from assay_tom_verifier.core.stories.scene import Scene
from assay_tom_verifier.core.stories.tables import Change, Claim, TableEngine

Answers = list[dict[Chain, str | None]]


class OnlyTheMoverSees(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        own = (event.agent,) if isinstance(event, Move) else ()
        return Change(change.container, lambda chain: change.why(chain) if chain in ((), own) else None)


class TheMoverDoesNotSee(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        mover = event.agent if isinstance(event, Move) else None
        return Change(change.container, lambda chain: None if mover in chain else change.why(chain))


class EveryoneSees(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        return Change(event.container, lambda chain: "seen")


class FirstOrderSightOnly(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        return Change(change.container, lambda chain: change.why(chain) if len(chain) < 2 else None)


class ThirdOrderSightOnly(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        return Change(change.container, lambda chain: change.why(chain) if len(chain) < 4 else None)


class OnlyTheLastAgentNeedSee(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        return Change(change.container, lambda chain: change.why(chain[-1:]))


class OnlyTheFirstAgentNeedSee(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        return Change(change.container, lambda chain: change.why(chain[:1]))


class OrderedObservers(TableEngine):
    """The defect that Hi-ToM's vanilla half was published with: observers in one order only, the mover last."""

    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        return Change(change.container, lambda chain: change.why(chain) if list(chain) == sorted(chain) else None)


class MovesAreNotReal(TableEngine):
    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        change = super().sight(event, scene)
        real = isinstance(event, Locate)
        return Change(change.container, lambda chain: change.why(chain) if chain or real else None)


class NothingIsSeenWhenPut(TableEngine):
    def change(self, event: Event, scene: Scene, thing: str, profile: Profile) -> Change | None:
        return None if isinstance(event, Locate) else super().change(event, scene, thing, profile)


class ComingBackShowsNothing(TableEngine):
    def entry(self, event: Enter, scene: Scene, thing: str) -> Change | None:
        return None


class ComingBackShowsToNewcomersOnly(TableEngine):
    """What they think of those who were there goes on as before."""

    def entry(self, event: Enter, scene: Scene, thing: str) -> Change | None:
        change = super().entry(event, scene, thing)
        if change is None:
            return None
        came = set(event.agents)
        return Change(change.container, lambda chain: change.why(chain) if came.issuperset(chain) else None)


class ComingBackShowsFirstOrderOnly(TableEngine):
    def entry(self, event: Enter, scene: Scene, thing: str) -> Change | None:
        change = super().entry(event, scene, thing)
        return change and Change(change.container, lambda chain: change.why(chain) if len(chain) == 1 else None)


class AnyRoomShowsIt(TableEngine):
    def entry(self, event: Enter, scene: Scene, thing: str) -> Change | None:
        return super().entry(Enter(event.agents, scene.place(thing) or ""), scene, thing)


class EveryoneIsTrusted(TableEngine):
    def trusts(self, listener: str, speaker: str, scene: Scene) -> bool:
        return True


class NobodyIsTrusted(TableEngine):
    def trusts(self, listener: str, speaker: str, scene: Scene) -> bool:
        return False


class WhoLeftEarlierIsTrusted(TableEngine):
    def trusts(self, listener: str, speaker: str, scene: Scene) -> bool:
        return scene.left(listener) > scene.left(speaker)


class WhoLeftTogetherAreTrusted(TableEngine):
    def trusts(self, listener: str, speaker: str, scene: Scene) -> bool:
        return scene.left(listener) <= scene.left(speaker)


class PrivateClaimsAreOverheard(TableEngine):
    def hears(self, agent: str, claim: Claim, scene: Scene) -> bool:
        return agent != claim.speaker and agent in scene.agents()


class PublicClaimsReachNobody(TableEngine):
    def hears(self, agent: str, claim: Claim, scene: Scene) -> bool:
        return isinstance(claim, PrivateClaim) and super().hears(agent, claim, scene)


class LateComersHearWhatWasSaidBefore(TableEngine):
    def hears(self, agent: str, claim: Claim, scene: Scene) -> bool:
        return agent == claim.listener if isinstance(claim, PrivateClaim) else agent != claim.speaker


class SpeakersBelieveThemselves(TableEngine):
    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return "said it" if chain == (claim.speaker,) else super().told(chain, claim, scene)

    def told_to_all(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return "said it" if chain == (claim.speaker,) else super().told_to_all(chain, claim, scene)


class SpeakersExpectDistrust(TableEngine):
    """Of the convention: the speaker thinks of those who trust him alone that they believe him."""

    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        doubted = len(chain) == 2 and chain[0] == claim.speaker and not self.trusts(chain[1], claim.speaker, scene)
        return None if doubted else super().told(chain, claim, scene)


class ListenersTakeSpeakersForLiars(TableEngine):
    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return None if len(chain) == 2 and chain[1] == claim.speaker else super().told(chain, claim, scene)


class ClaimsMakeReality(TableEngine):
    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return "said" if not chain else super().told(chain, claim, scene)


class LogicInTheConvention(TableEngine):
    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return self.told_to_all(chain, claim, scene)


class ConventionInTheLogic(TableEngine):
    def told_to_all(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return self.told(chain, claim, scene)


class CommonKnowledgeEndsAtTheThirdOrder(TableEngine):
    def told_to_all(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        return super().told_to_all(chain, claim, scene) if len(chain) < 4 else None


MUTANTS = sorted(
    (kind for kind in TableEngine.__subclasses__() if kind.__module__ == __name__), key=lambda kind: kind.__name__
)


@pytest.fixture(scope="module")
def cases() -> list[tuple[Story, Profile, list[Chain], Answers]]:
    """Stories with what the epistemic engine answers about their first object."""
    stories = [*generated(24, seed=5), *(wild_story(seed) for seed in range(24))]
    found = []
    for story in stories:
        chains = all_chains(story.agents, 4)
        for profile in Profile:
            steps = DelEngine().believe(story, chains, story.things[0], profile)
            found.append((story, profile, chains, _containers(steps)))
    return found


def _containers(steps: list) -> Answers:  # type: ignore[type-arg]
    return [{chain: belief.container for chain, belief in step.items()} for step in steps]


def _agrees(engine: TableEngine, cases: list[tuple[Story, Profile, list[Chain], Answers]]) -> bool:
    return all(
        _containers(engine.believe(story, chains, story.things[0], profile)) == answers
        for story, profile, chains, answers in cases
    )


def test_the_rules_themselves_agree(cases: list[tuple[Story, Profile, list[Chain], Answers]]) -> None:
    assert _agrees(TableEngine(), cases)


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) == 28


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_rule_is_caught(
    mutant: type[TableEngine], cases: list[tuple[Story, Profile, list[Chain], Answers]]
) -> None:
    assert not _agrees(mutant(), cases)
