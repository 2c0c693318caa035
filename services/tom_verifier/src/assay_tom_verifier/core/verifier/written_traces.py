"""Between traces as they are written and the claims that small models take and give."""

from __future__ import annotations

from collections.abc import Collection

from assay_tom_verifier.core.stories.events import Locate, Move, PrivateClaim, PublicClaim, Story
from assay_tom_verifier.core.traces.format import Trace, claims


def containers_of(story: Story) -> tuple[str, ...]:
    """Every container that the story names, in order."""
    named = (line.event for line in story.lines)
    return tuple(
        dict.fromkeys(
            event.container for event in named if isinstance(event, Locate | Move | PublicClaim | PrivateClaim)
        )
    )


def read_claims(trace: Trace, containers: Collection[str]) -> list[str | None]:
    """What each step claims, in the story's spelling: None for NULL; what is no container stays as it is written,
    and verifiers take it for one and the same thing. Of the rest of a step's text nothing is looked at.
    """
    return [_spelled(step.claim, containers) for step in trace.steps]


def read_answer(trace: Trace, containers: Collection[str]) -> str | None:
    """The final answer, likewise; the last step's claim where none is given."""
    return _spelled(trace.answer or trace.steps[-1].claim, containers)


def _spelled(claim: str, containers: Collection[str]) -> str | None:
    if claims(claim, None):
        return None
    return next((name for name in containers if claims(claim, name)), claim)
