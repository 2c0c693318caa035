"""A trace as text for a model with a tokenizer of its own, in DEL-ToM's form, told anew from what was parsed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question

NOBODY_CAN_TELL = "nobody can tell yet"
NO_CONTAINER = "no container of the story"


@dataclass(frozen=True)
class TraceText:
    """prompt: story and question; steps: one text for each step of the trace."""

    prompt: str
    steps: tuple[str, ...]


def trace_text(
    lines: Sequence[str], question: Question, claims: Sequence[str | None], containers: Collection[str]
) -> TraceText:
    """lines: the story's sentences; claims: what the trace says after each of the first; containers: all that may be
    claimed.

    A step is told with the story's line and the bracketed claim alone. What else the trace's writer put into it, be it
    "+", "Final Answer" or a heading, is left out, and a claim that is no container becomes fixed words: so that text
    cannot talk to the verifier. InvalidInput for no claims, or more than there are lines.
    """
    if not 1 <= len(claims) <= len(lines):
        raise InvalidInput("claims", f"are {len(claims)}; give 1 to the story's {len(lines)} lines")
    who = " ".join(f"{agent} thinks" for agent in question.chain)
    where = f"the {question.thing} is in"
    asked = f"{who} {where}".strip() if question.chain else f"{where} (really)"
    story = "\n".join(f"{number} {line}" for number, line in enumerate(lines, start=1))
    return TraceText(
        f"Story:\n{story}\nStep by step, is it right that {asked} the container in brackets? Say + or -.\n",
        tuple(
            f"## Step {number} ##\n{line}\n{asked} [{_shown(claim, containers)}]\n"
            for number, (line, claim) in enumerate(zip(lines, claims, strict=False), start=1)
        ),
    )


def _shown(claim: str | None, containers: Collection[str]) -> str:
    if claim is None:
        return NOBODY_CAN_TELL
    return claim if claim in containers else NO_CONTAINER
