"""Published answers that contradict the rules, each with the derivation of what the rules give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.evaluate import LabelledRow
from assay_tom_verifier.core.stories.beliefs import Belief, Profile, Question
from assay_tom_verifier.core.stories.events import Line, Locate, Move, PrivateClaim, PublicClaim, Story
from assay_tom_verifier.core.stories.parse import parse_question, parse_story
from assay_tom_verifier.core.traces.format import NULL, claims
from assay_tom_verifier.core.traces.labels import right_beliefs


@dataclass(frozen=True)
class Contradiction:
    """A published answer that the rules contradict.

    answer: what they give, NULL where nobody can tell. derivation: every change of the asked belief, in order, each
    with its rule and line. remark: what the story says of the published answer.
    """

    id: str
    published_answer: str
    answer: str
    derivation: tuple[Belief, ...]
    remark: str


@dataclass(frozen=True)
class Audit:
    """audited: rows read; unparsed: rows that could not be, about which nothing is said."""

    audited: int
    unparsed: int
    contradicted: tuple[Contradiction, ...]


def audit_rows(rows: Iterable[LabelledRow], profile: Profile = Profile.HITOM) -> Audit:
    """Which published answers contradict the rules of `profile`."""
    audited = unparsed = 0
    contradicted = []
    for row in rows:
        try:
            story, question = parse_story(row.story).story, parse_question(row.question)
            beliefs = right_beliefs(story, question, profile)
        except (InvalidInput, ResourceExhausted):
            unparsed += 1
            continue
        audited += 1
        if not claims(row.published_answer, beliefs[-1].container):
            contradicted.append(
                Contradiction(
                    row.id,
                    row.published_answer,
                    NULL if beliefs[-1].container is None else beliefs[-1].container,
                    derive(beliefs),
                    _remark(story, question, beliefs, row.published_answer),
                )
            )
    return Audit(audited, unparsed, tuple(contradicted))


def derive(beliefs: Sequence[Belief]) -> tuple[Belief, ...]:
    """Of the beliefs after each line those that a line changed; the last of them is the belief at the end."""
    return tuple(dict.fromkeys(belief for belief in beliefs if belief.line))


def _remark(story: Story, question: Question, beliefs: Sequence[Belief], published: str) -> str:
    """Every sentence that names the published container for an object, and why it decides nothing."""
    found = [
        f"line {line.number} {_about(line, question, belief, published)}"
        for line, belief in zip(story.lines, beliefs, strict=True)
        if isinstance(line.event, Locate | Move | PublicClaim | PrivateClaim)
        and claims(published, line.event.container)
    ]
    if not found:
        return f"no sentence puts anything in the {published}"
    return "; ".join(found)


def _about(line: Line, question: Question, belief: Belief, published: str) -> str:
    event = line.event
    assert isinstance(event, Locate | Move | PublicClaim | PrivateClaim)
    if event.thing != question.thing:
        return f"names it for the {event.thing}, not the {question.thing}"
    if claims(published, belief.container):
        return "put it there in this belief, and a later line put it elsewhere"
    return "names it for the object, and does not reach this belief"
