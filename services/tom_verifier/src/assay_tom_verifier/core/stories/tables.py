"""Belief by tables: one entry per chain of agents, overwritten as the rules of the story say.

The reference that the epistemic engine is held against, so it shares nothing with it but who is where (`Scene`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Profile
from assay_tom_verifier.core.stories.chains import check_asked
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Locate,
    Move,
    PrivateClaim,
    PublicClaim,
    Story,
)
from assay_tom_verifier.core.stories.scene import Scene

Claim = PublicClaim | PrivateClaim

UNKNOWN = Belief(None, "nobody in the chain has seen or heard where it is", 0)


@dataclass(frozen=True)
class Change:
    """container: what chains now believe; why: the rule for a chain that does, None for one that goes on as before."""

    container: str
    why: Callable[[Chain], str | None]


class TableEngine:
    """Who believes what after each line, by the rules of Hi-ToM's published generator or with common knowledge.

    The rules, in the order they are written below: what happens in a room is seen, by chains of any length, by all
    who are in it; who enters sees what is there; a listener trusts who left the rooms later; claims change what
    listeners believe, and what speaker and listeners believe of one another.
    """

    def believe(
        self,
        story: Story,
        chains: Iterable[Chain],
        thing: str,
        profile: Profile = Profile.HITOM,
        cancel: CancelToken | None = None,
    ) -> list[dict[Chain, Belief]]:
        """One dict a line, not to be written to: what each chain believes of `thing` after the line.

        Lines that change nothing share their dict with the line before. cancel: polled once a line.
        Raises InvalidInput for agents or an object that the story lacks, and for chains that `check_chain` refuses.
        """
        table = dict.fromkeys(chains, UNKNOWN)
        check_asked(story, table, thing)
        scene = Scene()
        steps = []
        for line in story.lines:
            if cancel is not None:
                cancel.check()
            scene.advance(line.event)
            change = self.change(line.event, scene, thing, profile)
            if change is not None:
                table = {chain: _after(belief, chain, change, line.number) for chain, belief in table.items()}
            steps.append(table)
        return steps

    def change(self, event: Event, scene: Scene, thing: str, profile: Profile) -> Change | None:
        """What an event changes in beliefs about `thing`; scene: after the event."""
        match event:
            case Enter():
                return self.entry(event, scene, thing)
            case Locate() | Move() if event.thing == thing:
                return self.sight(event, scene)
            case PublicClaim() | PrivateClaim() if event.thing == thing:
                told = self.told if profile is Profile.HITOM else self.told_to_all
                return Change(event.container, lambda chain: told(chain, event, scene))
        return None

    def sight(self, event: Locate | Move, scene: Scene) -> Change:
        """Whoever is in the room sees where the object is put, and that all others there see it."""
        place = scene.place(event.thing) or ""
        present = scene.present(place)

        def why(chain: Chain) -> str | None:
            if not present.issuperset(chain):
                return None
            put = f"{event.agent} moved it" if isinstance(event, Move) else "it was put there"
            return f"{_all_of(chain)} in the {place} when {put}" if chain else put

        return Change(event.container, why)

    def entry(self, event: Enter, scene: Scene, thing: str) -> Change | None:
        """Who enters a room sees what is in it, and so do those who were there, of one another."""
        container = scene.container(thing)
        if scene.place(thing) != event.place or container is None:
            return None
        present = scene.present(event.place)

        def why(chain: Chain) -> str | None:
            if not chain or not present.issuperset(chain):
                return None
            return f"{_all_of(chain)} in the {event.place} and could see it there"

        return Change(container, why)

    def told(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        """Hi-ToM's convention: single agents and pairs of speaker and listener change, longer chains never."""
        speaker = claim.speaker
        match chain:
            case (listener,) if self.hears(listener, claim, scene) and self.trusts(listener, speaker, scene):
                return f"{listener} heard {speaker} say so and trusts {speaker}, who left later"
            case (first, listener) if first == speaker and self.hears(listener, claim, scene):
                return f"{speaker} said so to {listener} and expects to be believed"
            case (listener, second) if (
                second == speaker and self.hears(listener, claim, scene) and self.trusts(listener, speaker, scene)
            ):
                return f"{listener} trusts {speaker}, who left later, to mean it"
        return None

    def told_to_all(self, chain: Chain, claim: Claim, scene: Scene) -> str | None:
        """As logic has it: who was told, and who trusts whom, is common knowledge among speaker and listeners.

        Whoever trusts the speaker believes the claim and takes the speaker to mean it; all who know of the claim know
        that. So a chain changes where the last agent in it other than the speaker at its end trusts the speaker.
        """
        speaker = claim.speaker
        if not all(agent == speaker or self.hears(agent, claim, scene) for agent in chain):
            return None
        last = chain[:-1] if chain and chain[-1] == speaker else chain
        if not last or not self.trusts(last[-1], speaker, scene):
            return None
        return f"{_all_of(chain, 'know')} what {speaker} said, and that {last[-1]} trusts {speaker}, who left later"

    def hears(self, agent: str, claim: Claim, scene: Scene) -> bool:
        """Everyone who has come so far, but for the speaker, hears a public claim; one agent a private one."""
        if isinstance(claim, PrivateClaim):
            return agent == claim.listener
        return agent != claim.speaker and agent in scene.agents()

    def trusts(self, listener: str, speaker: str, scene: Scene) -> bool:
        """Who left the rooms later has seen more; whoever is still in one has seen most."""
        return scene.left(listener) < scene.left(speaker)


def _after(belief: Belief, chain: Chain, change: Change, line: int) -> Belief:
    """A belief that comes out as it was keeps the rule and the line that it came from."""
    if belief.container == change.container:
        return belief
    rule = change.why(chain)
    return belief if rule is None else Belief(change.container, rule, line)


def _all_of(chain: Chain, verb: str = "was") -> str:
    """ "Owen was", "Owen and Liam were", "Owen, Liam and Ava know"."""
    agents = tuple(dict.fromkeys(chain))
    if len(agents) == 1:
        return f"{agents[0]} {verb if verb == 'was' else verb + 's'}"
    return f"{', '.join(agents[:-1])} and {agents[-1]} {'were' if verb == 'was' else verb}"
