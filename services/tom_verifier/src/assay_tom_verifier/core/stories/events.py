"""What happens in a story of who sees what: agents come and go, objects are moved, and something is claimed.

The events of Hi-ToM (He et al. 2023, arXiv:2310.16755). Names are as the text has them: `living_room`, `Owen`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Enter:
    """Agents come into a place together, in this order."""

    agents: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Exit:
    """Agents leave a place."""

    agents: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Locate:
    """An object is in a container of the place where the last agents entered."""

    thing: str
    container: str


@dataclass(frozen=True)
class Move:
    """An agent moves an object; whoever is in the place sees it."""

    agent: str
    thing: str
    container: str


@dataclass(frozen=True)
class Stay:
    """An agent does nothing for a while."""

    agent: str
    place: str


@dataclass(frozen=True)
class PublicClaim:
    """An agent tells everyone where an object is, true or not."""

    speaker: str
    thing: str
    container: str


@dataclass(frozen=True)
class PrivateClaim:
    """An agent tells one other where an object is, true or not; nobody else learns of it."""

    speaker: str
    listener: str
    thing: str
    container: str


@dataclass(frozen=True)
class Noise:
    """A sentence that changes no belief: likes, dislikes, lost things, animals seen."""

    text: str


Event = Enter | Exit | Locate | Move | Stay | PublicClaim | PrivateClaim | Noise


@dataclass(frozen=True)
class Line:
    """A sentence of a story. number: its own where it has one, else its place counted from 1."""

    number: int
    text: str
    event: Event


@dataclass(frozen=True)
class Story:
    """Lines in order; belief "at step i" is belief after `lines[i]`."""

    lines: tuple[Line, ...]

    @property
    def agents(self) -> tuple[str, ...]:
        """Everyone who ever enters, in order of entering."""
        found = {agent: None for line in self.lines if isinstance(line.event, Enter) for agent in line.event.agents}
        return tuple(found)

    @property
    def things(self) -> tuple[str, ...]:
        """Every object whose place is ever stated, in order."""
        return tuple({line.event.thing: None for line in self.lines if isinstance(line.event, Locate)})
