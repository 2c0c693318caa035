"""Errors that reasoners make about beliefs, as claims after each line.

Learning aids only: a verifier is judged on errors that a generator makes by itself, and these are easier to see.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence

from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Profile, Question
from assay_tom_verifier.core.stories.chains import no_repeats
from assay_tom_verifier.core.stories.events import Locate, Move, PrivateClaim, PublicClaim, Story
from assay_tom_verifier.core.stories.tables import TableEngine


class Corruption(enum.Enum):
    """What goes wrong, always from one line on."""

    # A change goes unnoticed, and the belief stays until the next one.
    STICKY = "sticky"
    # A sentence about the object is believed by a chain that the rules say it does not reach.
    UNSEEN = "unseen"
    # Reality is taken for belief.
    REALITY = "reality"
    # An agent of the chain is left out.
    SHORT_CHAIN = "short_chain"
    # Two agents of the chain change places.
    SWAPPED = "swapped"
    # Another container of the story, for no reason, until the next change.
    SLIP = "slip"


def corrupt_claims(
    story: Story,
    question: Question,
    corruption: Corruption,
    draw: random.Random,
    profile: Profile = Profile.HITOM,
) -> list[str | None] | None:
    """Claims after each line with one error; None where this error cannot be made on this question.

    At least one claim differs from what the rules give.
    """
    chain = question.chain
    others = _other_chains(chain, corruption)
    steps = TableEngine().believe(story, [chain, *others], question.thing, profile)
    right = [step[chain].container for step in steps]
    match corruption:
        case Corruption.REALITY | Corruption.SHORT_CHAIN | Corruption.SWAPPED:
            if not others:
                return None
            other = draw.choice(others)
            return _from_one_line(right, [step[other].container for step in steps], draw)
        case Corruption.STICKY:
            changes = _changes([step[chain] for step in steps])
            return _held(right, draw.choice(changes), changes) if changes else None
        case Corruption.UNSEEN:
            return _misled(story, question.thing, right, draw)
        case Corruption.SLIP:
            return _slipped(story, question.thing, right, draw)


def _other_chains(chain: Chain, corruption: Corruption) -> list[Chain]:
    """The chains whose beliefs the error takes for those of `chain`."""
    places = range(len(chain))
    match corruption:
        case Corruption.REALITY if chain:
            return [()]
        case Corruption.SHORT_CHAIN if len(chain) > 1:
            shorter = (chain[:index] + chain[index + 1 :] for index in places)
            return [each for each in shorter if no_repeats(each)]
        case Corruption.SWAPPED:
            swapped = ((*chain[:i], chain[i + 1], chain[i], *chain[i + 2 :]) for i in places[:-1])
            return [each for each in swapped if no_repeats(each)]
    return []


def _from_one_line(
    right: Sequence[str | None], wrong: Sequence[str | None], draw: random.Random
) -> list[str | None] | None:
    """`wrong` from one of the lines on where the two differ."""
    differing = [index for index, (first, second) in enumerate(zip(right, wrong, strict=True)) if first != second]
    if not differing:
        return None
    start = draw.choice(differing)
    return [*right[:start], *wrong[start:]]


def _changes(beliefs: Sequence[Belief]) -> list[int]:
    """Indices of lines that changed the belief."""
    before = [None, *(belief.container for belief in beliefs)]
    return [index for index, belief in enumerate(beliefs) if belief.container != before[index]]


def _held(right: Sequence[str | None], start: int, changes: Sequence[int]) -> list[str | None]:
    """What was believed before line `start`, until the next change."""
    stuck = right[start - 1] if start else None
    end = next((index for index in changes if index > start), len(right))
    return [*right[:start], *[stuck] * (end - start), *right[end:]]


def _misled(story: Story, thing: str, right: Sequence[str | None], draw: random.Random) -> list[str | None] | None:
    named = {
        index: line.event.container
        for index, line in enumerate(story.lines)
        if isinstance(line.event, Locate | Move | PublicClaim | PrivateClaim) and line.event.thing == thing
    }
    unseen = [index for index, container in named.items() if right[index] != container]
    if not unseen:
        return None
    start = draw.choice(unseen)
    return _until_change(right, start, named[start])


def _slipped(story: Story, thing: str, right: Sequence[str | None], draw: random.Random) -> list[str | None] | None:
    containers = {
        line.event.container
        for line in story.lines
        if isinstance(line.event, Locate | Move | PublicClaim | PrivateClaim) and line.event.thing == thing
    }
    start = draw.randrange(len(right))
    wrong = sorted(containers - {right[start]})
    return _until_change(right, start, draw.choice(wrong)) if wrong else None


def _until_change(right: Sequence[str | None], start: int, container: str) -> list[str | None]:
    """`container` from line `start` on, until the right belief next changes."""
    end = next((index for index in range(start + 1, len(right)) if right[index] != right[index - 1]), len(right))
    return [*right[:start], *[container] * (end - start), *right[end:]]
