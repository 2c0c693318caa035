"""Sentences of a story as event models of dynamic epistemic logic (Baltag and Moss 2004; with factual change).

Every agent holds exactly one event possible after each, so the models below are written as functions. What happens in
a room is two events, seen or missed. The tables of Hi-ToM's generator are event models too: agents whom a claim moves
take it to be heard by nobody but themselves and the speaker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from assay.cancel import CancelToken
from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.formulas import FALSE, TRUE
from assay_tom_verifier.core.epistemic.models import EpistemicModel, Event, EventModel
from assay_tom_verifier.core.stories import events as story
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.scene import Scene

Claim = story.PublicClaim | story.PrivateClaim

# Events times agents and containers of one line's model: as many as 256 agents take.
MOST_LINKS = 250_000


def initial_model(agents: Sequence[str], containers: Sequence[str]) -> EpistemicModel:
    """One world, where the object is in no container and everyone believes just that. atoms: the containers."""
    here = {"start": ("start",)}
    return EpistemicModel(tuple(agents), tuple(containers), {"start": ()}, dict.fromkeys(agents, here), "start")


def containers_of(told: story.Story, thing: str) -> tuple[str, ...]:
    """Every container that the story names for `thing`, in order."""
    found = {
        line.event.container: None
        for line in told.lines
        if isinstance(line.event, story.Locate | story.Move | Claim) and line.event.thing == thing
    }
    return tuple(found)


class EventCompiler:
    """Event models about one object. agents, containers: those of the whole story; name: what the model is called.

    cancel: polled as a model is built. A model of more than MOST_LINKS raises ResourceExhausted before it is.
    """

    def __init__(
        self,
        agents: Sequence[str],
        containers: Sequence[str],
        thing: str,
        profile: Profile,
        cancel: CancelToken | None = None,
    ) -> None:
        self._agents = agents
        self._containers = containers
        self._thing = thing
        self._profile = profile
        self._cancel = cancel or CancelToken()

    def compile(self, event: story.Event, scene: Scene, name: str) -> EventModel | None:
        """scene: after the event. None for an event that says nothing of the object to anyone."""
        match event:
            case story.Enter(_, place) if scene.place(self._thing) == place:
                return self._in_room(scene, name)
            case story.Locate(thing) | story.Move(_, thing) if thing == self._thing:
                return self._in_room(scene, name)
            case story.PublicClaim(_, thing) | story.PrivateClaim(_, _, thing) if thing == self._thing:
                hearers = _hearers(event, scene)
                believers = {agent for agent in hearers if scene.left(agent) < scene.left(event.speaker)}
                told = self._convention if self._profile is Profile.HITOM else self._common_knowledge
                return told(event, hearers, believers, name)
        return None

    def _in_room(self, scene: Scene, name: str) -> EventModel:
        """The object is where it is (now); who is in the room sees it and that all there see it."""
        present = scene.present(scene.place(self._thing) or "")
        seen = self._placed(scene.container(self._thing))

        def next_event(agent: str, event: str) -> str:
            return event if agent in present else "missed"

        return self._model(name, {"seen": seen, "missed": Event()}, next_event, "seen")

    def _convention(self, claim: Claim, hearers: set[str], believers: set[str], name: str) -> EventModel:
        """Hi-ToM's: who trusts believes it, of the speaker too; the speaker thinks that each hearer believes it.

        Nobody thinks that any third agent heard anything.
        """
        said = self._placed(claim.container)
        self._check_room(3 + len(hearers) + 2 * len(believers), name)
        # No name has a colon, so agents may be called anything.
        events = {"claimed": Event(), "unheard": Event(), "speaker": Event()}
        steps = {("claimed", claim.speaker): "speaker", ("speaker", claim.speaker): "speaker"}
        for agent in sorted(hearers):
            expected = f"expected:{agent}"
            events[expected] = said
            steps |= {("speaker", agent): expected, (expected, agent): expected}
        for agent in sorted(believers):
            believed, meant = f"believed:{agent}", f"meant:{agent}"
            events |= {believed: said, meant: said}
            steps |= {
                ("claimed", agent): believed,
                (believed, agent): believed,
                (believed, claim.speaker): meant,
                (meant, claim.speaker): meant,
            }
        return self._model(name, events, lambda agent, event: steps.get((event, agent), "unheard"), "claimed")

    def _common_knowledge(self, claim: Claim, hearers: set[str], believers: set[str], name: str) -> EventModel:
        """Speaker and hearers know in common that it was said, and who believes it.

        Two events, doubted and believed: in the believed one the speaker means it. Others hold that nothing was said.
        """
        events = {"doubted": Event(), "believed": self._placed(claim.container), "unheard": Event()}

        def next_event(agent: str, event: str) -> str:
            if event == "unheard" or agent not in hearers | {claim.speaker}:
                return "unheard"
            if agent == claim.speaker:
                return event
            return "believed" if agent in believers else "doubted"

        return self._model(name, events, next_event, "doubted")

    def _placed(self, container: str | None) -> Event:
        return Event(post={each: TRUE if each == container else FALSE for each in self._containers})

    def _model(
        self, name: str, events: dict[str, Event], next_event: Callable[[str, str], str], point: str
    ) -> EventModel:
        self._check_room(len(events), name)
        relations = {}
        for agent in self._agents:
            self._cancel.check()
            relations[agent] = {event: (next_event(agent, event),) for event in events}
        return EventModel(name, events, relations, point)

    def _check_room(self, events: int, name: str) -> None:
        if (links := events * (len(self._agents) + len(self._containers))) > MOST_LINKS:
            raise ResourceExhausted(
                f"story: {name} takes {events:,} events of {len(self._agents):,} agents and {len(self._containers):,} "
                f"containers, {links:,} links with {MOST_LINKS:,} at most; tell a story of fewer, or have tables "
                "answer",
                reason="TOO_MANY_LINKS",
            )


def _hearers(claim: Claim, scene: Scene) -> set[str]:
    """Everyone who has come so far hears a public claim."""
    heard: Iterable[str] = (claim.listener,) if isinstance(claim, story.PrivateClaim) else scene.agents()
    return set(heard) - {claim.speaker}
