"""Where everyone and everything is, sentence by sentence; what anyone believes of it is no part of this."""

from __future__ import annotations

import math
from collections.abc import Iterable

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Locate,
    Move,
    PrivateClaim,
    PublicClaim,
    Stay,
)

# Everyone waits here between chapters; nobody sees anything in it, and leaving it is no exit.
WAITING_ROOM = "waiting_room"


class Scene:
    """What `advance` has been told so far.

    An agent who enters a place has left the one before, be it said or not: nobody is in two.
    """

    def __init__(self) -> None:
        self._where: dict[str, str] = {}  # agent -> place
        self._things: dict[str, tuple[str, str]] = {}  # object -> (place, container)
        self._exits: dict[str, int] = {}
        self._stage: str | None = None  # where the last agents entered
        self._time = 0

    def advance(self, event: Event) -> None:
        """Takes in the next event. Raises InvalidInput, and changes nothing, where it cannot have happened."""
        match event:
            case Enter():
                self._enter(event)
            case Exit():
                self._exit(event)
            case Locate():
                if self._stage is None or self._stage == WAITING_ROOM:
                    raise _refusal(f"says where the {event.thing} is with nobody come to see it; have someone enter")
                self._things[event.thing] = (self._stage, event.container)
            case Move():
                self._move(event)
            case Stay():
                self._require(event.agent, event.place, "stays in")
            case PublicClaim():
                self._require_known((event.speaker,))
            case PrivateClaim():
                self._require_known((event.speaker, event.listener))
                if event.speaker == event.listener:
                    raise _refusal(f"has {event.speaker} tell {event.speaker}; name another listener")
        self._time += 1

    def agents(self) -> frozenset[str]:
        """Everyone who has entered anywhere."""
        return frozenset(self._where) | frozenset(self._exits)

    def present(self, place: str) -> frozenset[str]:
        """Who is in a place and sees what happens there; nobody in the waiting room."""
        if place == WAITING_ROOM:
            return frozenset()
        return frozenset(agent for agent, where in self._where.items() if where == place)

    def container(self, thing: str) -> str | None:
        """Where an object really is, None before it is said."""
        return self._things[thing][1] if thing in self._things else None

    def place(self, thing: str) -> str | None:
        """The place an object is in, None before it is said."""
        return self._things[thing][0] if thing in self._things else None

    def left(self, agent: str) -> float:
        """When an agent last left a room, as a count of events: infinite while in one, -1 for who never was."""
        return math.inf if self._where.get(agent, WAITING_ROOM) != WAITING_ROOM else self._exits.get(agent, -1)

    def _enter(self, event: Enter) -> None:
        if len(set(event.agents)) < len(event.agents):
            raise _refusal("names an agent twice; name each once")
        for agent in event.agents:
            self._leave(agent)
            self._where[agent] = event.place
        self._stage = event.place

    def _exit(self, event: Exit) -> None:
        for agent in event.agents:
            self._require(agent, event.place, "exits")
        for agent in event.agents:
            self._leave(agent)

    def _move(self, event: Move) -> None:
        place = self.place(event.thing)
        if place is None:
            raise _refusal(f"moves the {event.thing}, which is nowhere yet; say where it is first")
        self._require(event.agent, place, f"moves the {event.thing} in")
        self._things[event.thing] = (place, event.container)

    def _leave(self, agent: str) -> None:
        if self._where.pop(agent, WAITING_ROOM) != WAITING_ROOM:
            self._exits[agent] = self._time
        else:
            self._exits.setdefault(agent, -1)

    def _require(self, agent: str, place: str, does: str) -> None:
        if self._where.get(agent) != place:
            raise _refusal(f"{agent} {does} the {place} without being there; have {agent} enter it first")

    def _require_known(self, agents: Iterable[str]) -> None:
        for agent in agents:
            if agent not in self._where and agent not in self._exits:
                raise _refusal(f"{agent} speaks or is spoken to before entering anywhere; have {agent} enter first")


def _refusal(why: str) -> InvalidInput:
    return InvalidInput("story", why)
