"""Story text to events, and question text to questions; what is not understood is named, never guessed over."""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.stories.beliefs import Chain, Question
from assay_tom_verifier.core.stories.chains import check_chain
from assay_tom_verifier.core.stories.events import Enter, Line, Story
from assay_tom_verifier.core.stories.grammar import NAME, SENTENCES, composed, read_sentence, split_number
from assay_tom_verifier.core.stories.scene import Scene

MOST_LINES, MOST_AGENTS = 2_000, 256
MOST_LINE_CHARACTERS = 1_000

_REALLY = re.compile(rf"where (?:is|are) the ({NAME}) really", re.IGNORECASE)
_THINKS = re.compile(
    rf"where does ({NAME}) (?:really )?think ((?:(?:that )?{NAME} thinks )*)(?:that )?the ({NAME}) (?:is|are)",
    re.IGNORECASE,
)
# ToMi's questions of first and second order.
_LOOKS = re.compile(rf"where will ({NAME}) look for the ({NAME})", re.IGNORECASE)
_SEARCHES = re.compile(rf"where does ({NAME}) think (?:that )?({NAME}) searches for the ({NAME})", re.IGNORECASE)
_THINKER = re.compile(rf"(?:that )?({NAME}) thinks ", re.IGNORECASE)


@dataclass(frozen=True)
class RefusedLine:
    """A line that is no part of the story. number: as in `Line`; reason: why, and what would be accepted."""

    number: int
    text: str
    reason: str


@dataclass(frozen=True)
class ParsedStory:
    """story: what was understood; refused: the lines left out of it, none where the text was read strictly."""

    story: Story
    refused: tuple[RefusedLine, ...] = ()


def parse_story(text: str, *, strict: bool = True, cancel: CancelToken | None = None) -> ParsedStory:
    """Reads a story, one sentence a line, numbered or not; empty lines mean nothing.

    strict: raise InvalidInput at the first line that is no sentence of the grammar or cannot have happened (who moves
    or exits must be there), naming its number; otherwise leave such lines out and list them. Names are compared in
    Unicode's composed form (NFC). Raises ResourceExhausted above MOST_LINES lines or MOST_AGENTS agents, InvalidInput
    for a text without any line. cancel: polled once a line.
    """
    scene = Scene()
    lines: list[Line] = []
    refused: list[RefusedLine] = []
    agents: set[str] = set()
    for number, sentence in split_story(text):
        if cancel is not None:
            cancel.check()
        try:
            lines.append(_read_line(number, sentence, scene))
        except InvalidInput as error:
            reason = error.violations[0].description
            if strict:
                shown = sentence if len(sentence) <= 120 else f"{sentence[:120]}..."
                raise InvalidInput("story", f'line {number}, "{shown}": {reason}', reason="STORY_LINE") from None
            refused.append(RefusedLine(number, sentence, reason))
            continue
        if isinstance(event := lines[-1].event, Enter):
            agents.update(event.agents)
            if len(agents) > MOST_AGENTS:
                raise ResourceExhausted(
                    f"story: has over {MOST_AGENTS} agents by line {number}; tell it of fewer", reason="TOO_MANY_AGENTS"
                )
    return ParsedStory(Story(tuple(lines)), tuple(refused))


def split_story(text: str) -> list[tuple[int, str]]:
    """Numbers and sentences of a story, whatever they say; raises as `parse_story` for none or too many."""
    rows = [(place, row.strip()) for place, row in enumerate(composed(text).splitlines(), 1) if row.strip()]
    if not rows:
        raise InvalidInput("story", "is empty; give one sentence a line")
    if len(rows) > MOST_LINES:
        raise ResourceExhausted(f"story: has {len(rows)} lines; give at most {MOST_LINES}", reason="STORY_TOO_LONG")
    found = []
    for place, row in rows:
        own, sentence = split_number(row)
        found.append((place if own is None else own, sentence))
    return found


def parse_question(text: str) -> Question:
    """Reads "Where is the lettuce really?" and "Where does Owen think Liam thinks the lettuce is?", to MOST_ORDER.

    ToMi's "Where will Owen look for the lettuce?" and "Where does Owen think that Liam searches for the lettuce?" ask
    what Owen thinks, and what Owen thinks Liam thinks.
    Raises InvalidInput for anything else, for an agent who thinks about their own thinking, and for a longer chain.
    """
    asked = " ".join(composed(text).split()).rstrip("?. ")
    if len(asked) <= MOST_LINE_CHARACTERS:
        if found := _REALLY.fullmatch(asked):
            return Question(found[1], ())
        if found := _THINKS.fullmatch(asked):
            return _checked((found[1], *_THINKER.findall(found[2])), found[3])
        if found := _LOOKS.fullmatch(asked):
            return _checked((found[1],), found[2])
        if found := _SEARCHES.fullmatch(asked):
            return _checked((found[1], found[2]), found[3])
    raise InvalidInput(
        "question",
        'is none that is understood; ask "Where is the OBJECT really?" or "Where does A think B thinks the OBJECT is?"',
    )


def write_question(question: Question) -> str:
    """The published wording; `parse_question` gives the question back."""
    if not question.chain:
        return f"Where is the {question.thing} really?"
    first, *others = question.chain
    really = "" if others else "really "
    return f"Where does {first} {really}think {''.join(f'{other} thinks ' for other in others)}the {question.thing} is?"


def _checked(chain: Chain, thing: str) -> Question:
    check_chain(chain, "question")
    return Question(thing, chain)


def _read_line(number: int, sentence: str, scene: Scene) -> Line:
    """Raises InvalidInput; the scene is then as before."""
    if len(sentence) > MOST_LINE_CHARACTERS:
        raise InvalidInput("story", f"is {len(sentence)} characters long; give at most {MOST_LINE_CHARACTERS}")
    event = read_sentence(" ".join(sentence.split()))
    if event is None:
        raise InvalidInput("story", f"is no sentence of the grammar; {SENTENCES}")
    scene.advance(event)
    return Line(number, sentence, event)
