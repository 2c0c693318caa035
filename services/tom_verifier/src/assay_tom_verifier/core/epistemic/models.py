"""What an engine starts from and what happens to it: declarations that know no backend."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from assay_tom_verifier.core.epistemic.formulas import TRUE, Formula


class Frame(enum.Enum):
    """What relations must be like, of a model and of events alike; the strongest first."""

    # Knowledge: reflexive, transitive, Euclidean; an equivalence.
    S5 = "S5"
    # Belief: serial, transitive, Euclidean. Beliefs may be wrong, never contradictory.
    KD45 = "KD45"
    # Transitive and Euclidean alone, of models only: KD45 after news that nothing an agent held possible fits.
    K45 = "K45"


# agent -> world or event -> those that the agent holds possible there.
Relations = Mapping[str, Mapping[str, Collection[str]]]


@dataclass(frozen=True)
class EpistemicModel:
    """A pointed Kripke model (W, {R_a}, V), w0, world by world.

    worlds: name -> the atoms true there, the others being false. relations: one for each agent; a world left out of
    one has no successor, which K45 alone allows. point: the actual world.
    """

    agents: tuple[str, ...]
    atoms: tuple[str, ...]
    worlds: Mapping[str, Collection[str]]
    relations: Relations
    point: str
    frame: Frame = Frame.KD45


@dataclass(frozen=True)
class KnowledgeStructure:
    """An S5 model said in one sentence (van Benthem, van Eijck, Gattinger and Su 2015, definition 1).

    Worlds are all valuations of `atoms` that `law` is true of (it has no modality); an agent tells two apart where an
    atom it observes differs. actual: the atoms true at the actual world.
    """

    agents: tuple[str, ...]
    atoms: tuple[str, ...]
    law: Formula
    observes: Mapping[str, Collection[str]]
    actual: Collection[str]


Model = EpistemicModel | KnowledgeStructure


@dataclass(frozen=True)
class Event:
    """pre: what must be true for it to happen. post: atom -> what it becomes, all read before the event."""

    pre: Formula = TRUE
    post: Mapping[str, Formula] = field(default_factory=dict)


@dataclass(frozen=True)
class EventModel:
    """A pointed event model (E, {Q_a}, pre, post), e0; with postconditions (van Ditmarsch and Kooi 2008).

    relations: one for each agent of the model it is applied to. point: the event that really happens. name: how
    formulas and scripts refer to it.
    """

    name: str
    events: Mapping[str, Event]
    relations: Relations
    point: str
    frame: Frame = Frame.KD45

    def formulas(self) -> Iterator[Formula]:
        """Every precondition and every assigned formula."""
        for event in self.events.values():
            yield event.pre
            yield from event.post.values()
