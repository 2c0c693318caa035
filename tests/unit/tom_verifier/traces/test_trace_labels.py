"""Step labels, right traces and wrong ones."""

from __future__ import annotations

import random

import pytest

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.stories.parse import parse_story
from assay_tom_verifier.core.traces.compose import compose_trace, right_trace
from assay_tom_verifier.core.traces.corrupt import Corruption, corrupt_claims
from assay_tom_verifier.core.traces.format import Step, Trace, parse_trace, write_trace
from assay_tom_verifier.core.traces.labels import LabelMode, label_trace

STORY = parse_story("""Ava and Ben entered the hall.
The kiwi is in the red_box.
Ava exited the hall.
Ben moved the kiwi to the blue_box.
Ben exited the hall.""").story
ASKED = Question("kiwi", ("Ben", "Ava"))


def claiming(*containers: str | None) -> Trace:
    return compose_trace(STORY, ASKED, containers)


def labels(trace: Trace, mode: LabelMode = LabelMode.PREFIX) -> list[bool]:
    return [step.right for step in label_trace(STORY, ASKED, trace, mode).steps]


def test_a_wrong_step_makes_wrong_what_follows_it_or_not() -> None:
    slipped = claiming(None, "red_box", "red_box", "blue_box", "red_box")
    assert labels(slipped) == [True, True, True, False, False]
    assert labels(slipped, LabelMode.STEP) == [True, True, True, False, True]
    checked = label_trace(STORY, ASKED, slipped)
    assert (checked.first_error, checked.answer_right) == (3, True)


def test_a_label_gives_the_belief_its_rule_and_line() -> None:
    last = label_trace(STORY, ASKED, claiming("red_box")).steps[0]
    assert (last.right, last.claim, last.expected.container, last.expected.line) == (False, "red_box", None, 0)
    checked = label_trace(STORY, ASKED, claiming(None, "red_box", "red_box", "red_box"))
    assert (checked.steps[3].expected.rule, checked.steps[3].expected.line) == (
        "Ben and Ava were in the hall when it was put there", 2,
    )  # fmt: skip
    assert checked.expected_answer.container == "red_box"


def test_nobody_can_tell_yet_is_a_belief_and_silence_is_none() -> None:
    assert labels(claiming(None)) == [True]
    assert labels(Trace((Step("I cannot tell.", ""),), "")) == [False]
    assert labels(Trace((Step("", "null"),), "")) == [True]


@pytest.mark.parametrize(
    "injected", ["+", "## Step 2 ##\nthe kiwi is in [Null]", "Final Answer: [red_box]\nFinal Answer: [red_box]"]
)
def test_what_a_step_says_besides_its_claim_changes_no_label(injected: str) -> None:
    steps = list(claiming(None, "blue_box", "red_box").steps)
    steps[1] = Step(f"{injected}\n{steps[1].text}", steps[1].claim)
    injected_trace = Trace(tuple(steps), "red_box")
    assert labels(injected_trace, LabelMode.STEP) == [True, False, True]
    assert labels(parse_trace(write_trace(injected_trace)), LabelMode.STEP) == [True, False, True]


def test_more_steps_than_lines_are_refused() -> None:
    trace = Trace(tuple(Step("", "red_box") for _ in range(6)), "")
    with pytest.raises(InvalidInput, match="6 steps for 5 lines"):
        label_trace(STORY, ASKED, trace)
    with pytest.raises(InvalidInput, match="no lines"):
        label_trace(Story(()), ASKED, Trace((), ""))


def test_right_traces_are_right_in_text_too() -> None:
    for told in generate_stories(20, 1, length=2, claims=True):
        for each in told.questions:
            trace = right_trace(told.story, each.question)
            read = parse_trace(write_trace(trace))
            assert read == trace
            checked = label_trace(told.story, each.question, read)
            assert all(step.right for step in checked.steps)
            assert checked.answer_right
            assert len(checked.steps) == len(told.story.lines)


def test_a_right_trace_gives_reasons() -> None:
    assert right_trace(STORY, ASKED).steps[1].text == (
        "The kiwi is in the red_box.\n"
        "Ben and Ava were in the hall when it was put there.\n"
        "Ben thinks Ava thinks the kiwi is in [red_box]"
    )


@pytest.mark.parametrize("corruption", Corruption)
def test_a_corrupted_trace_is_wrong_from_one_step_on(corruption: Corruption) -> None:
    made = 0
    for told in generate_stories(60, 2, length=2, claims=True):
        for each in told.questions:
            draw = random.Random(told.index)
            claimed = corrupt_claims(told.story, each.question, corruption, draw)
            if claimed is None:
                continue
            made += 1
            assert len(claimed) == len(told.story.lines)
            checked = label_trace(told.story, each.question, compose_trace(told.story, each.question, claimed))
            first = checked.first_error
            assert first is not None
            right = [step.expected.container for step in checked.steps]
            assert claimed[:first] == right[:first]
            assert claimed[first] != right[first]
    assert made >= (3 if corruption is Corruption.SWAPPED else 60)


def test_errors_are_those_they_are_called() -> None:
    def corrupted(corruption: Corruption, chain: tuple[str, ...] = ("Ava",)) -> list[str | None] | None:
        return corrupt_claims(STORY, Question("kiwi", chain), corruption, random.Random(0))

    assert corrupted(Corruption.REALITY) in (  # from either line on that Ava's belief is wrong after
        [None, "red_box", "red_box", "blue_box", "blue_box"], [None, "red_box", "red_box", "red_box", "blue_box"],
    )  # fmt: skip
    assert corrupted(Corruption.UNSEEN) == [None, "red_box", "red_box", "blue_box", "blue_box"]
    assert corrupted(Corruption.STICKY) == [None] * 5
    assert corrupted(Corruption.SHORT_CHAIN, ("Ava", "Ben")) is None  # Ava's belief and Ben's of hers are one here
    assert corrupted(Corruption.REALITY, ()) is None
