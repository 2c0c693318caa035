"""The sentences of Hi-ToM (He et al. 2023, arXiv:2310.16755), read and written; those of ToMi (Le et al. 2019), read.

Read a little wider than they are published: numbered or not, with or without the Oxford comma and the full stop,
"is" or "are" after a plural ("The peas is in the ..."), and names of any script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

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
)

# What a sentence may be, for whoever wrote one that is none of these.
ACCEPTED = (
    "A, B and C entered the PLACE.",
    "A exited the PLACE.",
    "The OBJECT is in the CONTAINER.",
    "A moved the OBJECT to the CONTAINER.",
    "A made no movements and stayed in the PLACE for 1 minute.",
    "A publicly claimed that OBJECT is in the CONTAINER.",
    "A privately told B that the OBJECT is in the CONTAINER.",
    "A saw a ANIMAL.",
    "A lost his THING.",
    "A likes|dislikes|loves|hates the THING.",
)

SENTENCES = f"accepted are: {' '.join(ACCEPTED)}"

# Anything but "and" without spaces and punctuation, so that names of every script are names.
NAME = r"(?!and(?:[\s,.]|$))[^\s,.;:!?()\[\]{}\"]+"

_NUMBER = re.compile(r"(\d{1,9})[.):]?\s+(.*)", re.DOTALL)
_AGENTS = re.compile(rf"{NAME}(?:(?:, and |, | and ){NAME})*")
_AND = re.compile(r", and |, | and ")


def composed(text: str) -> str:
    """In Unicode's composed form (NFC), in which names are compared: a letter with its accent is one character."""
    return unicodedata.normalize("NFC", text)


def split_number(line: str) -> tuple[int | None, str]:
    """A line's own number, None where it has none, and its sentence."""
    found = _NUMBER.fullmatch(line)
    return (int(found[1]), found[2]) if found else (None, line)


def read_sentence(sentence: str) -> Event | None:
    """What a sentence says; None for one that is none of `ACCEPTED`."""
    for pattern, read in _SENTENCES:
        found = pattern.fullmatch(sentence)
        if found is not None:
            return read(found)
    return None


def write_sentence(event: Event) -> str:
    """The published sentence for an event; `read_sentence` gives the event back."""
    match event:
        case Enter(agents, place):
            return f"{listed(agents)} entered the {place}."
        case Exit(agents, place):
            return f"{listed(agents)} exited the {place}."
        case Locate(thing, container):
            return f"The {thing} is in the {container}."
        case Move(agent, thing, container):
            return f"{agent} moved the {thing} to the {container}."
        case Stay(agent, place):
            return f"{agent} made no movements and stayed in the {place} for 1 minute."
        case PublicClaim(speaker, thing, container):
            return f"{speaker} publicly claimed that {thing} is in the {container}."
        case PrivateClaim(speaker, listener, thing, container):
            return f"{speaker} privately told {listener} that the {thing} is in the {container}."
        case Noise(text):
            return text


def _agents(text: str) -> tuple[str, ...]:
    return tuple(_AND.split(text))


def listed(agents: tuple[str, ...]) -> str:
    """ "Owen", "Owen and Liam", "Owen, Liam and Ava"."""
    return agents[0] if len(agents) == 1 else f"{', '.join(agents[:-1])} and {agents[-1]}"


_NAMED = {"AS": f"({_AGENTS.pattern})", "A": f"({NAME})", "N": f"({NAME})"}


def _sentence(pattern: str, read: Callable[[re.Match[str]], Event]) -> tuple[re.Pattern[str], Callable[..., Event]]:
    """`A`: an agent, `AS`: agents, `N`: any other name; one space stands for any."""
    full = re.sub(r"\b(?:AS|A|N)\b", lambda short: _NAMED[short[0]], pattern)
    return re.compile(full + r"\.?"), read


_SENTENCES = (
    _sentence("AS entered the N", lambda m: Enter(_agents(m[1]), m[2])),
    _sentence("AS exited the N", lambda m: Exit(_agents(m[1]), m[2])),
    _sentence("[Tt]he N (?:is|are) in the N", lambda m: Locate(m[1], m[2])),
    _sentence("A moved the N to the N", lambda m: Move(m[1], m[2], m[3])),
    _sentence(
        r"A made no movements and stayed in the N for \d+ minutes?",
        lambda m: Stay(m[1], m[2]),
    ),
    _sentence(
        "A publicly claimed that (?:the )?N (?:is|are) in the N",
        lambda m: PublicClaim(m[1], m[2], m[3]),
    ),
    _sentence(
        "A privately told A that (?:the )?N (?:is|are) in the N",
        lambda m: PrivateClaim(m[1], m[2], m[3], m[4]),
    ),
    _sentence("A saw an? N", lambda m: Noise(m[0])),
    _sentence("A lost (?:his|her|their) N", lambda m: Noise(m[0])),
    _sentence("A (?:likes|dislikes|loves|hates) the N", lambda m: Noise(m[0])),
)
