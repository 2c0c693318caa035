"""One number for a trace out of its steps' scores."""

from __future__ import annotations

import enum

import torch
from torch import Tensor

from assay.errors import InvalidInput


class Aggregation(enum.Enum):
    """LAST: the last step's score; MIN: the worst step's; MEAN; PROD: the product, as if steps failed on their own."""

    LAST = "last"
    MIN = "min"
    MEAN = "mean"
    PROD = "prod"


def check_scores(scores: Tensor) -> None:
    """InvalidInput for scores that are no numbers in [0, 1]."""
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise InvalidInput("scores", "hold NaN or a number outside [0, 1]; give probabilities")


def aggregate(scores: Tensor, how: Aggregation, mask: Tensor | None = None) -> Tensor:
    """scores: [..., T] in [0, 1]; mask: bool, broadcastable to it, true where a trace has a step (None: everywhere).

    Returns [...] float64 in [0, 1]. The product is taken in logarithms: 0.01 two hundred times over is still more than
    0.009. InvalidInput for scores outside [0, 1] or a trace without steps.
    """
    kept = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand(scores.shape)
    counts = kept.sum(-1)
    if scores.shape[-1] == 0 or bool((counts == 0).any()):
        raise InvalidInput("scores", "are missing for a trace; give at least one step's")
    exact = scores.double()
    check_scores(exact.where(kept, exact.new_zeros(())))
    match how:
        case Aggregation.LAST:
            last = kept.shape[-1] - 1 - kept.flip(-1).to(torch.int8).argmax(-1)
            return exact.gather(-1, last[..., None]).squeeze(-1)
        case Aggregation.MIN:
            return exact.masked_fill(~kept, 1.0).amin(-1)
        case Aggregation.MEAN:
            return exact.masked_fill(~kept, 0.0).sum(-1) / counts
        case Aggregation.PROD:
            return exact.masked_fill(~kept, 1.0).log().sum(-1).exp()
