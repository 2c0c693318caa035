"""Fresh traces from a small generator, step by step with cached keys and values."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.questions import Questions

# Traces drawn side by side: more gain nothing on a core, and their cache leaves its own.
ROWS_AT_ONCE = 1024


@torch.no_grad()
def sample_traces(
    network: BeliefNetwork,
    questions: Questions,
    traces: int,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    cancel: CancelToken | None = None,
) -> Tensor:
    """`traces` traces of each question, drawn at `temperature`: [B, traces, T] int64 belief slots.

    A claim is drawn among the story's containers and NULL; slots beyond a story's end are drawn too and mean nothing.
    Raises InvalidInput for traces < 1 or a temperature that is not above 0; Cancelled, DeadlineExceeded.
    """
    if traces < 1:
        raise InvalidInput("n", f"is {traces}; ask for at least one trace")
    if not temperature > 0:
        raise InvalidInput("temperature", f"is {temperature}; give a number above 0")
    lines = network.embed_lines(questions.features)
    owners = torch.arange(len(questions)).repeat_interleave(traces)
    drawn = [
        _draw(network, lines, questions.possible, rows, generator, temperature, cancel)
        for rows in owners.split(ROWS_AT_ONCE)
    ]
    return torch.cat(drawn).view(len(questions), traces, questions.steps)


def _draw(
    network: BeliefNetwork,
    lines: Tensor,
    possible: Tensor,
    rows: Tensor,
    generator: torch.Generator,
    temperature: float,
    cancel: CancelToken | None,
) -> Tensor:
    steps = lines.shape[1] - 1
    cache = network.new_cache(len(rows), 1 + 2 * steps)
    barred = ~possible[rows]
    claims = torch.empty(len(rows), steps, dtype=torch.int64)
    unread = lines[rows, :2]  # the question and the first line
    for step in range(steps):
        if cancel is not None:
            cancel.check()
        logits = network.beliefs(network.run(unread, cache)[:, -1]) / temperature
        odds = logits.masked_fill(barred, float("-inf")).softmax(-1)
        # The smallest of exponential waiting times is a draw from the odds, without multinomial's checks per row.
        claims[:, step] = (odds / torch.empty_like(odds).exponential_(generator=generator)).argmax(-1)
        if step + 1 < steps:
            unread = torch.stack((network.embed_slots(claims[:, step]), lines[rows, step + 2]), dim=1)
    return claims
