"""What a language model is asked, and what is made of what it writes."""

from __future__ import annotations

import pytest

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.parse import parse_question, parse_story
from assay_tom_verifier.core.traces.drafts import read_draft
from assay_tom_verifier.core.traces.format import parse_trace
from assay_tom_verifier.core.traces.labels import label_trace
from assay_tom_verifier.core.traces.prompt import STOP, trace_prompt
from assay_tom_verifier.core.traces.writer import Draft

LINES = ["Owen pops by the hall.", "There is a pea in the box."]
TRACE = "## Step 1 ##\nso [Null]\n## Step 2 ##\nso [box]\nFinal Answer: [box]"


def test_the_worked_example_is_right_by_the_rules() -> None:
    prompt = trace_prompt(LINES, Question("pea", ("Owen",)))
    _, example, asked = prompt.split("Story:\n")
    told, _, rest = example.partition("\nQuestion: ")
    question, _, written = rest.partition("\nTrace:\n")
    story, trace = parse_story(told).story, parse_trace(written.strip())
    checked = label_trace(story, parse_question(question), trace)
    assert len(checked.steps) == len(story.lines)
    assert all(step.right for step in checked.steps)
    assert checked.answer_right
    told, _, rest = asked.partition("\nQuestion: ")
    assert told.splitlines() == ["1 Owen pops by the hall.", "2 There is a pea in the box."]
    assert rest == "Where does Owen really think the pea is?\nTrace:\n"
    assert prompt.count(STOP[0]) == 2


@pytest.mark.parametrize("before", ["", "Sure:\n", "<think>\n## Step 1 ##\n[x]\n## Step 1 ##\n</think>\n"])
def test_what_comes_before_a_trace_is_left_out(before: str) -> None:
    read = read_draft(Draft(before + TRACE), 2)
    assert read.trace == parse_trace(TRACE)
    assert read.refused == ""


@pytest.mark.parametrize(
    ("text", "lines", "reason"),
    [
        ("", 2, "has no steps"),
        (TRACE, 3, "has 2 steps for 3 lines"),
        (TRACE, 1, "has 2 steps for 1 lines"),
        (TRACE.replace("[box]\nFinal", "box\nFinal"), 2, "claims nothing in step 2"),
        (TRACE.replace("Step 2", "Step 3"), 2, "has step 3 where step 2 comes next"),
        ("x" * 1_000_001, 2, "trace: is 1,000,001 characters"),
    ],
)
def test_what_is_no_trace_is_refused_with_the_reason(text: str, lines: int, reason: str) -> None:
    read = read_draft(Draft(text), lines)
    assert read.trace is None
    assert read.refused.startswith(reason)
    assert read.draft.text == text
