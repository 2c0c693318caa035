"""How a language model is asked for a trace in the format of `format`: rules, one worked example, the question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.parse import parse_story, write_question
from assay_tom_verifier.core.traces.compose import right_trace
from assay_tom_verifier.core.traces.format import NULL, write_trace

# What a model goes on with that does not know where to stop: another story.
STOP = ("\nStory:",)

_RULES = f"""\
Where does everyone think things are? Whoever is in a room sees what happens in it, until they leave, and whoever
comes in sees what is there. A thinks that B knows what B saw while A was there too. A claim is believed by those who
left before the one who claims it, and by nobody else.
Go through the story line by line. For each line write a heading "## Step k ##", the line itself, what it changes, and
then what the question asks for, with the container in square brackets, or [{NULL}] while nobody can tell.
Close with "Final Answer: [container]"."""
_EXAMPLE = """Nora, Paul and Iris entered the attic.
The lamp is in the grey_trunk.
Nora moved the lamp to the tin_bucket.
Nora exited the attic.
Paul moved the lamp to the grey_trunk."""
_ASKED = Question("lamp", ("Iris", "Nora"))


def trace_prompt(lines: Sequence[str], question: Question) -> str:
    """lines: the story's sentences; a step is asked for each. They may be sentences that the grammar does not know."""
    return f"{_RULES}\n\n{_example()}\n\n{_told(lines, question)}"


@cache
def _example() -> str:
    story = parse_story(_EXAMPLE).story
    return f"{_told(_EXAMPLE.splitlines(), _ASKED)}{write_trace(right_trace(story, _ASKED))}"


def _told(lines: Sequence[str], question: Question) -> str:
    numbered = "\n".join(f"{number} {line}" for number, line in enumerate(lines, 1))
    return f"Story:\n{numbered}\nQuestion: {write_question(question)}\nTrace:\n"
