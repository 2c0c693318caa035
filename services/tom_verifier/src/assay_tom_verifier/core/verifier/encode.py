"""A story, its question and the beliefs asked for as a small model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Locate,
    Move,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.verifier import vocabulary as V

WAITING_ROOM = "waiting_room"  # where nobody sees anything


@dataclass(frozen=True)
class Labels:
    """The numbers that a story's names go by; two stories that differ in names alone become the same.

    containers: those of the asked object alone; what happens to others is told without them, as it cannot matter.
    """

    agents: dict[str, int]
    containers: dict[str, int]
    places: dict[str, int]

    def claim(self, container: str | None) -> int:
        """The belief slot's value: a container's number, NULL for None, OUTSIDE for what is no container here."""
        return V.NULL if container is None else self.containers.get(container, V.OUTSIDE)

    def container(self, value: int) -> str | None:
        """The name behind a belief slot's value; None for NULL. InvalidInput for a number that no container bears."""
        if value == V.NULL:
            return None
        for name, number in self.containers.items():
            if number == value:
                return name
        raise InvalidInput("claims", f"{value} stands for no container of this story; give one of its labels")


@dataclass(frozen=True)
class EncodedQuestion:
    """features: [1 + T, FEATURES] uint8, the question and then a row per line; of a model that reads words, [1 + T, L]
    int16 tokens. labels: what the numbers mean.
    """

    features: NDArray[np.uint8] | NDArray[np.int16]
    labels: Labels

    @property
    def steps(self) -> int:
        return len(self.features) - 1


def relabel(story: Story, question: Question, generator: np.random.Generator | None = None) -> Labels:
    """Numbers for the names: the asked chain's agents first, in its order, then everyone as they turn up.

    generator: containers get numbers at random out of MOST_CONTAINERS, so that a model in training learns all of
    them; None: as they turn up. InvalidInput for more agents, containers or places than the vocabulary has.
    """
    agents: dict[str, None] = dict.fromkeys(question.chain)
    containers: dict[str, None] = {}
    places: dict[str, None] = {}
    for line in story.lines:
        agents.update(dict.fromkeys((*_actors(line.event), *_listeners(line.event))))
        container = _container(line.event, question.thing)
        if container is not None:
            containers[container] = None
        place = _place(line.event)
        if place is not None and place != WAITING_ROOM:
            places[place] = None
    _at_most("agents", len(agents), V.MOST_AGENTS)
    _at_most("containers", len(containers), V.MOST_CONTAINERS)
    _at_most("places", len(places), V.MOST_PLACES)
    numbers = range(len(containers)) if generator is None else generator.permutation(V.MOST_CONTAINERS).tolist()
    return Labels(
        {name: index for index, name in enumerate(agents)},
        dict(zip(containers, numbers, strict=False)),
        {name: index for index, name in enumerate(places)},
    )


def encode_question(story: Story, question: Question, generator: np.random.Generator | None = None) -> EncodedQuestion:
    """The story as rows of features, told with the question in view.

    Only what the parsed events say goes in: a line's text, and whatever else a trace writes, cannot reach the model.
    generator: as for `relabel`. InvalidInput for chains longer than MOST_ORDER, empty or overlong stories.
    """
    if not story.lines:
        raise InvalidInput("story", "has no lines; give at least one")
    _at_most("steps", len(story.lines), V.MOST_STEPS)
    _at_most("order", question.order, V.MOST_ORDER)
    labels = relabel(story, question, generator)
    features = np.zeros((1 + len(story.lines), V.FEATURES), dtype=np.uint8)
    features[0, V.ORDER + question.order] = 1
    for position, agent in enumerate(question.chain):
        features[0, V.CHAIN + position * V.MOST_AGENTS + labels.agents[agent]] = 1
    for row, line in zip(features[1:], story.lines, strict=True):
        _fill(row, line.event, question.thing, labels)
    return EncodedQuestion(features, labels)


def encode_claims(claims: Sequence[str | None], labels: Labels) -> NDArray[np.int64]:
    """[T] int64, the belief slots' values of a trace's claims."""
    return np.array([labels.claim(claim) for claim in claims], dtype=np.int64)


def _fill(row: NDArray[np.uint8], event: Event, thing: str, labels: Labels) -> None:
    row[V.KIND + V.KINDS[type(event)]] = 1
    for agent in _actors(event):
        row[V.ACTOR + labels.agents[agent]] = 1
    for agent in _listeners(event):
        row[V.LISTENER + labels.agents[agent]] = 1
    container = _container(event, thing)
    if container is not None:
        row[V.CONTAINER + labels.containers[container]] = 1
    elif isinstance(event, Locate | Move | PublicClaim | PrivateClaim):
        row[V.OTHER_THING] = 1
    place = _place(event)
    if place == WAITING_ROOM:
        row[V.WAITING] = 1
    elif place is not None:
        row[V.PLACE + labels.places[place]] = 1


def _actors(event: Event) -> tuple[str, ...]:
    match event:
        case Enter() | Exit():
            return event.agents
        case Move() | Stay():
            return (event.agent,)
        case PublicClaim() | PrivateClaim():
            return (event.speaker,)
    return ()


def _listeners(event: Event) -> tuple[str, ...]:
    return (event.listener,) if isinstance(event, PrivateClaim) else ()


def _container(event: Event, thing: str) -> str | None:
    """The container that the event names for the asked object."""
    match event:
        case Locate() | Move() | PublicClaim() | PrivateClaim() if event.thing == thing:
            return event.container
    return None


def _place(event: Event) -> str | None:
    return event.place if isinstance(event, Enter | Exit | Stay) else None


def _at_most(field: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(field, f"are {count}, and the small models know {most}; give fewer, or use a checkpoint")
