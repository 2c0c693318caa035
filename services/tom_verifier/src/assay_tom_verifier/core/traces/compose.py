"""A trace from what it is to claim after each line."""

from __future__ import annotations

from collections.abc import Sequence

from assay_tom_verifier.core.stories.beliefs import Belief, Profile, Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.traces.format import NULL, Step, Trace, write_claim
from assay_tom_verifier.core.traces.labels import right_beliefs


def right_trace(story: Story, question: Question, profile: Profile = Profile.HITOM) -> Trace:
    """The trace without an error; each step gives the rule that changed the belief, where one did."""
    beliefs = right_beliefs(story, question, profile)
    return compose_trace(story, question, [belief.container for belief in beliefs], beliefs)


def compose_trace(
    story: Story, question: Question, claimed: Sequence[str | None], beliefs: Sequence[Belief] = ()
) -> Trace:
    """A trace that claims `claimed` after the story's first lines, and answers with the last of them.

    beliefs: where given, a step whose line changed the belief gives the rule; other steps say what they claim alone.
    """
    steps = []
    for index, (line, container) in enumerate(zip(story.lines, claimed, strict=False)):
        changed = index < len(beliefs) and beliefs[index].line == line.number
        why = f"{beliefs[index].rule}." if changed else _unexplained(claimed, index)
        claim = NULL if container is None else container
        steps.append(Step(f"{line.text}\n{why}\n{write_claim(question, container)}", claim))
    return Trace(tuple(steps), steps[-1].claim if steps else "")


def _unexplained(claimed: Sequence[str | None], index: int) -> str:
    before = claimed[index - 1] if index else None
    return "Nothing changes." if claimed[index] == before else "This changes where they think it is."
