"""Published answers that contradict the rules, each with the derivation of what the rules give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.evaluate import LabelledRow
from assay_tom_verifier.core.stories.beliefs import Belief, Profile, Question
from assay_tom_verifier.core.stories.events import Locate, Move, PrivateClaim, PublicClaim, Story
from assay_tom_verifier.core.stories.grammar import listed
from assay_tom_verifier.core.stories.parse import parse_question, parse_story
from assay_tom_verifier.core.stories.scene import Scene
from assay_tom_verifier.core.traces.format import NULL, claims
from assay_tom_verifier.core.traces.labels import right_beliefs

Naming = Locate | Move | PublicClaim | PrivateClaim


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


def audit_rows(
    rows: Iterable[LabelledRow], profile: Profile = Profile.HITOM, cancel: CancelToken | None = None
) -> Audit:
    """Which published answers contradict the rules of `profile`. cancel: polled once a line of each row's story."""
    audited = unparsed = 0
    contradicted = []
    for row in rows:
        try:
            story, question = parse_story(row.story, cancel=cancel).story, parse_question(row.question)
            beliefs = right_beliefs(story, question, profile, cancel)
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
                    _remark(story, question, beliefs, row.published_answer, cancel),
                )
            )
    return Audit(audited, unparsed, tuple(contradicted))


def derive(beliefs: Sequence[Belief]) -> tuple[Belief, ...]:
    """Of the beliefs after each line those that a line changed; the last of them is the belief at the end."""
    return tuple(dict.fromkeys(belief for belief in beliefs if belief.line))


def _remark(
    story: Story, question: Question, beliefs: Sequence[Belief], published: str, cancel: CancelToken | None
) -> str:
    """Every sentence that names the published container for an object, and why it decides nothing."""
    scene = Scene()
    found = []
    for line, belief in zip(story.lines, beliefs, strict=True):
        if cancel is not None:
            cancel.check()
        event = line.event
        scene.advance(event)
        if isinstance(event, Locate | Move | PublicClaim | PrivateClaim) and claims(published, event.container):
            found.append(f"line {line.number} {_why_not(event, scene, question, belief)}")
    return "; ".join(found) or f"no sentence puts anything in the {published}"


def _why_not(event: Naming, scene: Scene, question: Question, belief: Belief) -> str:
    """scene, belief: after the event."""
    if event.thing != question.thing:
        return f"names it for the {event.thing}, not the {question.thing}"
    if belief.container == event.container:
        return "brings this belief there, and a later line elsewhere"
    if isinstance(event, PublicClaim | PrivateClaim):
        return f"is a claim by {event.speaker} that leaves this belief as it is"
    place = scene.place(event.thing) or ""
    absent = [agent for agent in dict.fromkeys(question.chain) if agent not in scene.present(place)]
    return f"puts it there while {listed(tuple(absent))} {'is' if len(absent) == 1 else 'are'} not in the {place}"
