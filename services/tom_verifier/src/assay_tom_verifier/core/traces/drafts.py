"""What a language model wrote as a trace: read, or refused with the reason; never mended."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.traces.format import Trace, parse_trace
from assay_tom_verifier.core.traces.writer import Draft

# Where models that think before they answer say that they are done.
_THOUGHT = "</think>"


@dataclass(frozen=True)
class ReadDraft:
    """trace: None where the draft is none; refused: why, empty where it is one."""

    draft: Draft
    trace: Trace | None
    refused: str = ""


def read_draft(draft: Draft, lines: int) -> ReadDraft:
    """A trace has a claim for each of the story's `lines` lines: only so does step k speak of line k."""
    try:
        trace = parse_trace(draft.text.rpartition(_THOUGHT)[2])
    except InvalidInput as error:
        return ReadDraft(draft, None, error.violations[0].description)
    except ResourceExhausted as error:
        return ReadDraft(draft, None, error.message)
    if len(trace.steps) != lines:
        cut = ", cut off at the token limit" if draft.cut else ""
        return ReadDraft(draft, None, f"has {len(trace.steps)} steps for {lines} lines{cut}")
    silent = next((number for number, step in enumerate(trace.steps, 1) if not step.claim), None)
    if silent is not None:
        return ReadDraft(draft, None, f"claims nothing in step {silent}: no container in square brackets")
    return ReadDraft(draft, trace)
