"""Stories of Hi-ToM's making (He et al. 2023, arXiv:2310.16755, section 3), without end and with the right answers.

A story has one to three chapters. In each, agents enter a room, an object is in it, and each agent in turn moves the
object or stays and then leaves; all wait together; and there may be claims, true or not. Between the sentences stand
some that change nothing. The numbers that the paper leaves open are those counted on 40 published stories.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories import names
from assay_tom_verifier.core.stories.beliefs import Belief, Profile, Question
from assay_tom_verifier.core.stories.chains import MOST_ORDER
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Line,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.stories.grammar import write_sentence
from assay_tom_verifier.core.stories.parse import write_question
from assay_tom_verifier.core.stories.scene import WAITING_ROOM
from assay_tom_verifier.core.stories.tables import TableEngine

MOST_LENGTH = 3
MOST_NOISE = 0.5

_CONTAINERS = 4  # that an object may be in within a chapter
_SAME_OBJECT = 0.2  # a further chapter takes the object up again where it is,
_SAME_ROOM = 0.15  # or another one in the same room
_PUBLIC_FIRST = 0.6  # the first claim of two is public
_EARLY_CLAIMS = 0.5  # a chapter before the last ends with claims, too
_ASKED_FIRST = 0.7  # asked about is the first chapter's object (always, as published), else any of the story's
_KNOWN_CONTAINER = 0.6  # a claim names a container that the object was in


@dataclass(frozen=True)
class GeneratedQuestion:
    """text: the published wording; answer: what the rules give at the end of the story."""

    text: str
    question: Question
    answer: Belief


@dataclass(frozen=True)
class GeneratedStory:
    """index: counted from 0; text: one numbered sentence a line; questions: of orders 0 to 4, on one object.

    Each question's chain is the one before with one more agent in front, all of them distinct.
    """

    index: int
    text: str
    story: Story
    questions: tuple[GeneratedQuestion, ...]


def generate_stories(
    count: int,
    seed: int,
    *,
    length: int = 1,
    claims: bool = False,
    noise: float = 0.1,
    agents: int = 5,
    profile: Profile = Profile.HITOM,
    first: int = 0,
) -> Iterator[GeneratedStory]:
    """Stories number `first` to `first + count - 1` of those that the seed and the options stand for.

    length: chapters, 1 to MOST_LENGTH; of `agents` agents, then of two fewer, then of one fewer. claims: two at the
    story's end, and at the end of half of the chapters before. noise: probability of a sentence that changes nothing
    after each other. agents: 3 to what `names` has. profile: what the answers go by.
    Raises InvalidInput for options outside these.
    """
    _check(count, length, noise, agents, first)
    return (
        _Teller(random.Random(f"{seed}/{length}/{claims}/{noise}/{agents}/{index}"), noise).tell(
            index, length, claims, agents, profile
        )
        for index in range(first, first + count)
    )


class _Teller:
    """Tells one story."""

    def __init__(self, draw: random.Random, noise: float) -> None:
        self._draw = draw
        self._noise = noise
        self._events: list[Event] = []
        self._cast: list[str] = []

    def tell(self, index: int, length: int, claims: bool, agents: int, profile: Profile) -> GeneratedStory:
        draw = self._draw
        self._cast = draw.sample(names.AGENTS, agents)
        room = draw.choice(names.PLACES)
        thing, pool = draw.choice(names.THINGS), draw.sample(names.CONTAINERS, _CONTAINERS)
        at: dict[str, str] = {}
        rooms: dict[str, str] = {}
        for chapter in range(length):
            cast = self._cast if chapter == 0 else draw.sample(self._cast, agents - 2 if chapter == 1 else agents - 1)
            if chapter > 0 and draw.random() >= _SAME_OBJECT:
                thing = draw.choice([name for name in names.THINGS if name not in at])
                pool = draw.sample(names.CONTAINERS, _CONTAINERS)
                if draw.random() >= _SAME_ROOM:
                    room = draw.choice([name for name in names.PLACES if name not in rooms.values()])
            room = rooms.setdefault(thing, room)
            at[thing] = self._chapter(cast, room, thing, at.get(thing, pool[0]), pool)
            if claims and (chapter == length - 1 or draw.random() < _EARLY_CLAIMS):
                self._claims(cast, thing, pool)
        story = Story(tuple(Line(number, write_sentence(event), event) for number, event in enumerate(self._events, 1)))
        text = "\n".join(f"{line.number} {line.text}" for line in story.lines)
        return GeneratedStory(index, text, story, self._questions(story, profile))

    def _chapter(self, cast: Sequence[str], room: str, thing: str, container: str, pool: Sequence[str]) -> str:
        """Tells it; returns where the object ends up."""
        self._say(Enter(tuple(cast), room))
        self._say(Locate(thing, container))
        for agent in cast:
            if self._draw.random() < 0.5:
                container = self._draw.choice([name for name in pool if name != container])
                self._say(Move(agent, thing, container))
            else:
                self._say(Stay(agent, room))
            self._say(Exit((agent,), room))
        self._say(Enter(tuple(cast), WAITING_ROOM))
        return container

    def _claims(self, cast: Sequence[str], thing: str, pool: Sequence[str]) -> None:
        speakers = self._draw.sample(cast, 2)
        for position, speaker in enumerate(speakers):
            known = self._draw.random() < _KNOWN_CONTAINER
            container = self._draw.choice(pool if known else names.CONTAINERS)
            if position == 0 and self._draw.random() < _PUBLIC_FIRST:
                self._say(PublicClaim(speaker, thing, container))
            else:
                listener = self._draw.choice([agent for agent in self._cast if agent != speaker])
                self._say(PrivateClaim(speaker, listener, thing, container))

    def _say(self, event: Event) -> None:
        self._events.append(event)
        if self._draw.random() < self._noise:
            self._events.append(Noise(self._noise_sentence()))

    def _noise_sentence(self) -> str:
        agent = self._draw.choice(self._cast)
        match self._draw.randrange(4):
            case 0:
                return f"{agent} saw a {self._draw.choice(names.ANIMALS)}."
            case 1:
                return f"{agent} lost his {self._draw.choice(names.BELONGINGS)}."
            case 2:
                return f"{agent} likes the {self._draw.choice(names.CONTAINERS)}."
            case _:
                return f"{agent} dislikes the {self._draw.choice(names.THINGS)}."

    def _questions(self, story: Story, profile: Profile) -> tuple[GeneratedQuestion, ...]:
        thing = story.things[0] if self._draw.random() < _ASKED_FIRST else self._draw.choice(story.things)
        cast = self._draw.sample(self._cast, min(MOST_ORDER, len(self._cast)))
        chains = [tuple(reversed(cast[:order])) for order in range(len(cast) + 1)]
        beliefs = TableEngine().believe(story, chains, thing, profile)[-1]
        questions = (Question(thing, chain) for chain in chains)
        return tuple(GeneratedQuestion(write_question(asked), asked, beliefs[asked.chain]) for asked in questions)


def _check(count: int, length: int, noise: float, agents: int, first: int) -> None:
    if count < 0 or first < 0:
        raise InvalidInput("count" if count < 0 else "first", f"is {min(count, first)}; give 0 or more")
    if not 1 <= length <= MOST_LENGTH:
        raise InvalidInput("length", f"is {length}; give 1 to {MOST_LENGTH} chapters")
    if not 0 <= noise <= MOST_NOISE:  # NaN fails too
        raise InvalidInput("noise", f"is {noise}; give 0 to {MOST_NOISE}")
    if not 3 <= agents <= len(names.AGENTS):
        raise InvalidInput("agents", f"are {agents}; give 3 to {len(names.AGENTS)}")
