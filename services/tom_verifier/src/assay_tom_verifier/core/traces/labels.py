"""Which steps of a trace are right, by the rules themselves."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Belief, Profile, Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.tables import TableEngine
from assay_tom_verifier.core.traces.format import Trace, claims


class LabelMode(enum.Enum):
    """What makes a step right."""

    # Itself and every step before it (what DEL-ToM trains on).
    PREFIX = "prefix"
    # Itself alone.
    STEP = "step"


@dataclass(frozen=True)
class StepLabel:
    """claim: as the step has it; expected: what the rules give after the step's line, and by which."""

    right: bool
    claim: str
    expected: Belief


@dataclass(frozen=True)
class CheckedTrace:
    """steps: a label for each of the trace's. answer_right: the final answer is the belief at the story's end."""

    steps: tuple[StepLabel, ...]
    answer_right: bool
    expected_answer: Belief

    @property
    def first_error(self) -> int | None:
        """The index of the first wrong step, None where all are right."""
        return next((index for index, step in enumerate(self.steps) if not step.right), None)


def label_trace(
    story: Story,
    question: Question,
    trace: Trace,
    mode: LabelMode = LabelMode.PREFIX,
    profile: Profile = Profile.HITOM,
    cancel: CancelToken | None = None,
) -> CheckedTrace:
    """Labels every step. Step k speaks of the story up to line k, so a trace has at most as many steps as lines.

    Raises InvalidInput otherwise, and for a question that the story cannot answer. What a step's text holds besides
    its claim changes no label. cancel: polled once a line of the story.
    """
    if len(trace.steps) > len(story.lines):
        raise InvalidInput(
            "trace", f"has {len(trace.steps)} steps for {len(story.lines)} lines of story; give one step a line"
        )
    expected = right_beliefs(story, question, profile, cancel)
    steps = []
    all_right = True
    for step, belief in zip(trace.steps, expected, strict=False):
        right = claims(step.claim, belief.container)
        all_right = all_right and right
        steps.append(StepLabel(right if mode is LabelMode.STEP else all_right, step.claim, belief))
    return CheckedTrace(tuple(steps), claims(trace.answer, expected[-1].container), expected[-1])


def right_beliefs(
    story: Story, question: Question, profile: Profile = Profile.HITOM, cancel: CancelToken | None = None
) -> Sequence[Belief]:
    """What the asked chain believes after each line. cancel: polled once a line."""
    if not story.lines:
        raise InvalidInput("story", "has no lines; give at least one")
    steps = TableEngine().believe(story, [question.chain], question.thing, profile, cancel)
    return [step[question.chain] for step in steps]
