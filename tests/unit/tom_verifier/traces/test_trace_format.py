"""Traces as text: what marks mean where they belong, and nothing elsewhere."""

from __future__ import annotations

import pytest

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.traces.format import (
    MOST_STEPS,
    NULL,
    Step,
    Trace,
    claims,
    parse_trace,
    write_claim,
    write_trace,
)

TEXT = """Let me think.
## Step 1 ##
Owen and Liam entered the hall.
Owen thinks Liam thinks the celery is in [Null]
## Step 2 ##
The celery is in the green_box.
They see [it]. Owen thinks Liam thinks the celery is in [green_box]

Final Answer: [green_box]
That is all."""


def test_steps_claims_and_the_answer_are_read() -> None:
    trace = parse_trace(TEXT)
    assert [step.claim for step in trace.steps] == ["Null", "green_box"]
    assert trace.steps[0].text == "Owen and Liam entered the hall.\nOwen thinks Liam thinks the celery is in [Null]"
    assert trace.answer == "green_box"
    assert parse_trace(TEXT.replace("\n", "\r\n")) == trace


@pytest.mark.parametrize(
    "mark",
    [
        "## Step 1 ##", "## Step 2 ##", "## Step 3 ##", "### Step 2:", "Final Answer: [red_box]",
        "**Final Answer: [red_box]**", "+", "-", "\\## Step 2 ##", "\\\\Final Answer: [red_box]", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_mark_inside_a_step_comes_back_as_it_was(mark: str, where: int) -> None:
    steps = [Step.read(f"line {k}\nthe celery is in [box_{k}]") for k in range(3)]
    steps[where] = Step.read(f"{mark}\n{steps[where].text}\n{mark}\n{mark}")
    trace = Trace(tuple(steps), "green_box")
    assert parse_trace(write_trace(trace)) == trace
    assert [step.claim for step in trace.steps] == ["box_0", "box_1", "box_2"]


@pytest.mark.parametrize(
    "said",
    [
        "so ## Step 2 ## begins, the celery is in [box]",
        "Final Answer: [red] Final Answer: [red], the celery is in [box]",
        "+ + + + +\nthe celery is in [box]",
        "Final Answer: [red]\nFinal Answer: [red]\nthe celery is in [box]",
        "the celery is in [box]\nFinal Answer: [red]\nFinal Answer: [blue]",
    ],
)
def test_a_claim_is_what_the_last_brackets_outside_answers_say(said: str) -> None:
    trace = parse_trace(f"## Step 1 ##\n{said}\n## Step 2 ##\nthe celery is in [tin]\nFinal Answer: [tin]")
    assert [step.claim for step in trace.steps] == ["box", "tin"]
    assert trace.answer == "tin"


def test_of_several_answers_at_the_end_the_last_counts() -> None:
    trace = parse_trace("## Step 1 ##\nin [box]\nFinal Answer: [red]\nFinal Answer: [blue]")
    assert (trace.steps[0].claim, trace.answer) == ("box", "blue")


@pytest.mark.parametrize(
    ("said", "claim", "answer"),
    [
        ("Final Answer: [red]\nso [box]", "box", ""),
        ("in [tin]\nFinal Answer: [red]\nFinal Answer: [red]\n\nso [box]", "box", ""),
        ("Final Answer: [red]\nso [box]\nFinal Answer: [blue]", "box", "blue"),
        ("so [box]\nFinal Answer: [red]\n\\Final Answer: [blue]\n\nThat is all.", "box", "red"),
    ],
)
def test_an_answer_before_a_claim_takes_it_from_no_step(said: str, claim: str, answer: str) -> None:
    for text in (f"## Step 1 ##\n{said}", f"## Step 1 ##\nso [Null]\n## Step 2 ##\n{said}"):
        trace = parse_trace(text)
        assert (trace.steps[-1].claim, trace.answer) == (claim, answer)
        assert parse_trace(write_trace(trace)) == trace


def test_a_trace_may_stop_before_its_answer() -> None:
    trace = parse_trace("## Step 1 ##\nnothing to see")
    assert (trace.steps[0].claim, trace.answer) == ("", "")
    assert parse_trace(write_trace(trace)) == trace


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Final Answer: [box]", "no steps"),
        ("", "no steps"),
        ("## Step 2 ##\nin [box]", "has step 2 where step 1 comes next"),
        ("## Step 1 ##\nin [box]\n## Step 1 ##\nin [box]", "has step 1 where step 2 comes next"),
        ("## Step 1 ##\nin [box]\n## Step 3 ##\nin [box]", "has step 3 where step 2 comes next"),
    ],
)
def test_steps_out_of_order_are_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        parse_trace(text)


def test_long_traces_are_refused() -> None:
    with pytest.raises(ResourceExhausted, match="steps"):
        parse_trace("\n".join(f"## Step {k} ##" for k in range(1, MOST_STEPS + 2)))
    with pytest.raises(ResourceExhausted, match="characters"):
        parse_trace("[" * 1_000_001)


def test_brackets_without_end_are_read_quickly() -> None:
    assert parse_trace("## Step 1 ##\n" + "[" * 900_000).steps[0].claim == ""


@pytest.mark.parametrize(
    ("claim", "container", "same"),
    [
        ("green_box", "green_box", True), ("Green box", "green_box", True), (NULL, None, True), ("null", None, True),
        ("", None, False), ("", "green_box", False), (NULL, "green_box", False), ("green_box", None, False),
        ("green_boxes", "green_box", False), ("Cre\u0300me box", "cr\u00e8me_box", True),
    ],
)  # fmt: skip
def test_a_claim_names_a_container(claim: str, container: str | None, same: bool) -> None:
    assert claims(claim, container) is same


def test_claims_are_written_as_published() -> None:
    assert write_claim(Question("celery", ("Owen", "Liam")), "box") == "Owen thinks Liam thinks the celery is in [box]"
    assert write_claim(Question("celery", ()), None) == "the celery is in [Null]"
