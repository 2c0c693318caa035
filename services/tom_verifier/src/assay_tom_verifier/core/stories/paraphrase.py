"""The same stories in words that the grammar refuses: what only a reader that has learned them can follow.

Each grammar has a sentence of its own for every kind of event, so a reader can be trained on some and tested on the
others. Names stay as they are, so an answer to the story is an answer to its paraphrase.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.events import (
    Enter,
    Event,
    Exit,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.stories.grammar import listed

_ENTER = (
    "{agents} went into the {place}.",
    "Into the {place} came {agents}.",
    "By then the {place} had {agents} in it.",
    "The {place} saw {agents} arrive.",
    "{agents} stepped inside the {place}.",
)
_EXIT = (
    "{agents} walked out of the {place}.",
    "{agents} left the {place} behind.",
    "Out of the {place} went {agents}.",
    "The {place} no longer had {agents} in it.",
    "Gone from the {place} by now: {agents}.",
)
_LOCATE = (
    "Somebody had left the {thing} inside the {container}.",
    "There was the {thing}, lying in the {container}.",
    "Inside the {container} lay the {thing}.",
    "The {container} held the {thing}.",
    "One could see the {thing} in the {container}.",
)
_MOVE = (
    "{agent} took the {thing} and put it into the {container}.",
    "{agent} transferred the {thing} into the {container}.",
    "Then the {thing} was put into the {container} by {agent}.",
    "The {container} got the {thing} from {agent}.",
    "{agent} chose the {container} as a new place for the {thing}.",
)
_STAY = (
    "{agent} waited in the {place} for a minute and touched nothing.",
    "For a minute {agent} did nothing at all in the {place}.",
    "Nothing was touched by {agent}, who lingered in the {place}.",
    "The {place} saw {agent} idle for a minute.",
    "{agent} just stood about in the {place}.",
)
_PUBLIC = (
    "{speaker} told everyone: the {thing} can be found in the {container}.",
    "{speaker} announced to all that the {container} has the {thing} in it.",
    "All heard {speaker} say that the {thing} lies in the {container}.",
    "The {container}, so {speaker} let everybody know, is where the {thing} is.",
    "In front of everyone {speaker} named the {container} as the place of the {thing}.",
)
_PRIVATE = (
    "{speaker} whispered to {listener}: the {thing} can be found in the {container}.",
    "{speaker} took {listener} aside and said that the {container} has the {thing} in it.",
    "Only {listener} heard {speaker} say that the {thing} lies in the {container}.",
    "The {container}, so {speaker} let {listener} alone know, is where the {thing} is.",
    "Between the two of them {speaker} named to {listener} the {container} as the place of the {thing}.",
)
_NOISE = (
    "By the way, everyone knew that {text}.",
    "It so happened that {text}.",
    "Besides, {text}.",
    "Meanwhile {text}.",
    "As an aside, {text}.",
)

GRAMMARS = len(_ENTER)


def paraphrase_story(story: Story, seed: int, grammars: Sequence[int] = tuple(range(GRAMMARS))) -> str:
    """The story, a numbered sentence a line, each in the words of one of `grammars` drawn for it.

    Raises InvalidInput for no grammar, or one outside 0 to GRAMMARS - 1.
    """
    if not grammars or not all(0 <= grammar < GRAMMARS for grammar in grammars):
        raise InvalidInput("grammars", f"are {list(grammars)}; give some of 0 to {GRAMMARS - 1}")
    draw = random.Random(seed)
    sentences = (paraphrase(line.event, draw.choice(grammars)) for line in story.lines)
    return "\n".join(f"{number} {sentence}" for number, sentence in enumerate(sentences, 1))


def paraphrase(event: Event, grammar: int) -> str:
    """An event's sentence in one of the grammars."""
    match event:
        case Enter(agents, place):
            return _ENTER[grammar].format(agents=listed(agents), place=place)
        case Exit(agents, place):
            return _EXIT[grammar].format(agents=listed(agents), place=place)
        case Locate(thing, container):
            return _LOCATE[grammar].format(thing=thing, container=container)
        case Move(agent, thing, container):
            return _MOVE[grammar].format(agent=agent, thing=thing, container=container)
        case Stay(agent, place):
            return _STAY[grammar].format(agent=agent, place=place)
        case PublicClaim(speaker, thing, container):
            return _PUBLIC[grammar].format(speaker=speaker, thing=thing, container=container)
        case PrivateClaim(speaker, listener, thing, container):
            return _PRIVATE[grammar].format(speaker=speaker, listener=listener, thing=thing, container=container)
        case Noise(text):
            return _NOISE[grammar].format(text=re.sub(r"\.$", "", text))
