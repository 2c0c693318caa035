"""Traces as DEL-ToM writes them (arXiv:2505.17348): one step a line of the story, its claim in the last brackets.

    ## Step 1 ##
    Owen and Liam entered the hall.
    Nothing says yet where it is.
    Owen thinks Liam thinks the celery is in [Null]
    ...
    Final Answer: [green_box]

What a step says is data. Only a line that is nothing but the header of the step that comes next begins a step, only
the last answer after the last header is the answer, and no answer where a claim follows it; such lines of a step's
own are written behind a backslash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.grammar import composed

MOST_STEPS = 2_000
MOST_CHARACTERS = 1_000_000

# The claim that nobody in the chain can tell yet.
NULL = "Null"

_HEADER = re.compile(r"\s*#{2,3} ?Step (\d{1,6})(?: ?#{2,3})?:?\s*", re.IGNORECASE)
_ANSWER = re.compile(r"\s*\**Final Answer:?\**:? *\[([^\[\]]*)\]\.?\**\s*", re.IGNORECASE)
_CLAIM = re.compile(r"\[([^\[\]\n]*)\]")


@dataclass(frozen=True)
class Step:
    """claim: the container that the step says the chain thinks the object is in, NULL, or empty for none said."""

    text: str
    claim: str

    @classmethod
    def read(cls, text: str) -> Step:
        """The claim is in the last brackets outside lines that give a final answer."""
        said = _claimed(text.split("\n"))
        return cls(text, said[-1].strip() if said else "")


@dataclass(frozen=True)
class Trace:
    """steps: one for each of the story's first lines; answer: empty where the trace gives none."""

    steps: tuple[Step, ...]
    answer: str


def parse_trace(text: str) -> Trace:
    """Reads a trace; what stands before the first header is left out.

    Raises InvalidInput where no step begins or steps are out of order, ResourceExhausted above MOST_STEPS steps or
    MOST_CHARACTERS characters.
    """
    if len(text) > MOST_CHARACTERS:
        raise ResourceExhausted(
            f"trace: is {len(text):,} characters; give at most {MOST_CHARACTERS:,}", reason="TRACE_TOO_LONG"
        )
    steps: list[list[str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        header = _HEADER.fullmatch(line)
        if header is not None:
            if int(header[1]) != len(steps) + 1:
                raise InvalidInput(
                    "trace", f"has step {int(header[1])} where step {len(steps) + 1} comes next; number them from 1"
                )
            steps.append([])
            if len(steps) > MOST_STEPS:
                raise ResourceExhausted(f"trace: has over {MOST_STEPS} steps", reason="TRACE_TOO_LONG")
        elif steps:
            steps[-1].append(line)
    if not steps:
        raise InvalidInput("trace", 'has no steps; begin each with a line "## Step k ##", k from 1')
    answers = [index for index, line in enumerate(steps[-1]) if _ANSWER.fullmatch(line)]
    answer = ""
    # What is claimed after an answer is the step's own: an answer in its midst must not take the claim away.
    if answers and not _claimed(steps[-1][answers[-1] :]):
        answer = _bracketed(steps[-1][answers[-1]])
        del steps[-1][answers[-1] :]
    return Trace(tuple(Step.read(_unescaped(lines)) for lines in steps), answer)


def write_trace(trace: Trace) -> str:
    """The text that `parse_trace` reads as `trace`; lines of a step that look like marks get a backslash in front."""
    rows = []
    for number, step in enumerate(trace.steps, 1):
        rows.append(f"## Step {number} ##")
        rows.extend(_escaped(line) for line in step.text.split("\n"))
    if trace.answer:
        rows.append(f"Final Answer: [{trace.answer}]")
    return "\n".join(rows)


def write_claim(question: Question, container: str | None) -> str:
    """ "Owen thinks Liam thinks the celery is in [box]"."""
    thinking = "".join(f"{agent} thinks " for agent in question.chain)
    return f"{thinking}the {question.thing} is in [{NULL if container is None else container}]"


def claims(claim: str, container: str | None) -> bool:
    """Whether a claim names what the rules give; None there is NULL here. Case, spaces for underscores and the way that
    an accent is written are let go.

    An empty claim names nothing, not even NULL.
    """
    return _plain(claim) == _plain(NULL if container is None else container)


def _plain(name: str) -> str:
    return "_".join(composed(name.casefold()).split())


def _claimed(lines: list[str]) -> list[str]:
    """What is in brackets outside lines that give a final answer, with or without a backslash."""
    return _CLAIM.findall("\n".join(line for line in lines if not _ANSWER.fullmatch(line.lstrip("\\"))))


def _bracketed(line: str) -> str:
    found = _ANSWER.fullmatch(line)
    return found[1].strip() if found else ""


def _escaped(line: str) -> str:
    bare = line.lstrip("\\")
    return f"\\{line}" if _HEADER.fullmatch(bare) or _ANSWER.fullmatch(bare) else line


def _unescaped(lines: list[str]) -> str:
    return "\n".join(line[1:] if line.startswith("\\") and _escaped(line[1:]) != line[1:] else line for line in lines)
