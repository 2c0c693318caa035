"""A line of a story as the words it is told in, names apart: what a small model takes that reads instead of parsing.

Words come out of a fixed vocabulary; names do not. An agent, a container of the asked object or another thing is a
number of its own story's, so that a reader who has never met Owen knows him again. What tells names is writing alone:
agents are capitalised within a sentence, other names follow "the" or bear an underscore.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import (
    Enter,
    Exit,
    Locate,
    Move,
    Noise,
    PrivateClaim,
    PublicClaim,
    Stay,
    Story,
)
from assay_tom_verifier.core.stories.grammar import write_sentence
from assay_tom_verifier.core.stories.paraphrase import paraphrase
from assay_tom_verifier.core.stories.scene import WAITING_ROOM
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.encode import EncodedQuestion, Labels

MOST_WORDS = 48  # of a line
MOST_OTHERS = 12  # places, further objects and whatever else is named; more of them are unknown words

# Tokens: nothing, an unknown word, the asked object; the question's order and chain; names; then words.
NOTHING, UNKNOWN, ASKED = range(3)
ORDER = 3
CHAIN = ORDER + V.MOST_ORDER + 1
AGENT = CHAIN + V.MOST_ORDER * V.MOST_AGENTS
CONTAINER = AGENT + V.MOST_AGENTS
OTHER = CONTAINER + V.MOST_CONTAINERS
WORD = OTHER + MOST_OTHERS

# The published sentences, beside the numbers of paraphrase's grammars.
PUBLISHED = -1

_WORD = re.compile(r"[^\s,.;:!?()\[\]{}\"]+")
_SAMPLES = (
    Enter(("N_", "N_"), "N_"),
    Exit(("N_",), "N_"),
    Locate("N_", "N_"),
    Move("N_", "N_", "N_"),
    Stay("N_", "N_"),
    PublicClaim("N_", "N_", "N_"),
    PrivateClaim("N_", "N_", "N_", "N_"),
    Noise("N_ saw a N_."),
    Noise("N_ lost his N_."),
    Noise("N_ likes the N_."),
    Noise("N_ dislikes the N_."),
)


@cache
def words_of(grammars: tuple[int, ...]) -> tuple[str, ...]:
    """The words of these grammars' sentences, names left out, in alphabetical order: a reader's vocabulary."""
    found = {WAITING_ROOM}  # where nobody sees anything: a place of the language, not of the story
    for grammar in grammars:
        for event in _SAMPLES:
            sentence = write_sentence(event) if grammar == PUBLISHED else paraphrase(event, grammar)
            found |= {word.lower() for word in _WORD.findall(sentence) if word != "N_"}
    return tuple(sorted(found))


@dataclass(frozen=True)
class ToldStory:
    """A story as it is written. lines: the words of each, as they are spelled."""

    lines: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, story: Story) -> ToldStory:
        """By the texts of its lines, whatever they were parsed as. InvalidInput where a line is too long."""
        lines = []
        for line in story.lines:
            words = tuple(_WORD.findall(line.text))
            if len(words) > MOST_WORDS:
                raise InvalidInput(
                    "story",
                    f"line {line.number} has {len(words)} words, and the small models read {MOST_WORDS}; split it",
                )
            lines.append(words)
        return cls(tuple(lines))


def encode_told(
    told: ToldStory,
    question: Question,
    words: Sequence[str],
    unknown: Collection[str] = (),
    generator: np.random.Generator | None = None,
) -> EncodedQuestion:
    """The question, and the story as rows of tokens: features [1 + T, L] int16.

    words: the reader's vocabulary; unknown: those of them that are to be taken for words never met. generator: numbers
    the containers, as for `relabel`. InvalidInput for a question about what no line names, and for more agents, lines
    or containers than the small models have numbers for.
    """
    if not told.lines:
        raise InvalidInput("story", "has no lines; give at least one")
    _at_most("lines", len(told.lines), V.MOST_STEPS)
    _at_most("order", question.order, V.MOST_ORDER)
    tokens = {word: WORD + index for index, word in enumerate(words) if word not in unknown}
    labels = _label(told, question, tokens, generator)
    for name in (*question.chain, question.thing):
        if not any(name in line for line in told.lines):
            raise InvalidInput("question", f"names {name}, whom no line of the story names; spell it as the story does")
    features = np.zeros((1 + len(told.lines), max(1 + V.MOST_ORDER, *map(len, told.lines))), dtype=np.int16)
    features[0, 0] = ORDER + question.order
    for position, agent in enumerate(question.chain):
        features[0, 1 + position] = CHAIN + position * V.MOST_AGENTS + labels.agents[agent]
    names = (
        {name: OTHER + number for name, number in labels.places.items()}
        | {name: CONTAINER + number for name, number in labels.containers.items()}
        | {name: AGENT + number for name, number in labels.agents.items()}
        | {question.thing: ASKED}
    )
    for row, line in zip(features[1:], told.lines, strict=True):
        row[: len(line)] = [names.get(word, tokens.get(word.lower(), UNKNOWN)) for word in line]
    return EncodedQuestion(features, labels)


def _label(
    told: ToldStory, question: Question, known: Collection[str], generator: np.random.Generator | None
) -> Labels:
    """Numbers for what is written like a name. Labels.places are those of all that is neither agent nor container."""
    agents = dict.fromkeys(question.chain)
    agents.update(dict.fromkeys(word for line in told.lines for word in line[1:] if word[0].isupper()))
    _at_most("agents", len(agents), V.MOST_AGENTS)
    for line in told.lines:  # at a sentence's start any word is capitalised: a name perhaps, if there is a number left
        if line and line[0][0].isupper() and line[0].lower() not in known and len(agents) < V.MOST_AGENTS:
            agents[line[0]] = None
    containers: dict[str, None] = {}
    others: dict[str, None] = {}
    for line in told.lines:
        about_it = question.thing in line
        for before, word in zip(("", *line), line, strict=False):
            named = "_" in word or before.lower() == "the"
            if named and word.lower() not in known and word not in agents and word != question.thing:
                (containers if about_it else others)[word] = None
    _at_most("containers", len(containers), V.MOST_CONTAINERS)
    numbers = range(len(containers)) if generator is None else generator.permutation(V.MOST_CONTAINERS).tolist()
    kept = [name for name in others if name not in containers][:MOST_OTHERS]
    return Labels(
        {name: index for index, name in enumerate(agents)},
        dict(zip(containers, numbers, strict=False)),
        {name: index for index, name in enumerate(kept)},
    )


def _at_most(field: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(field, f"are {count}, and the small models know {most}; give fewer, or use a checkpoint")
