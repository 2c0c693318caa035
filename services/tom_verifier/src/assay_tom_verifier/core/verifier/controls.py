"""What a verifier's gain has to be held against: chance, counting heads, a perfect judge, and no judge can beat.

All take traces of B questions: answers [B, N] int64, right [B] int64, scores [B, N], and return the share of questions
answered rightly as float64 [B], between 0 and 1 where luck is averaged out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay_tom_verifier.core.verifier.select import Selection, select_all

SHUFFLES = 100


def single(answers: Tensor, right: Tensor) -> Tensor:
    """One trace, averaged over the N: what no selection gives."""
    return (answers == right[:, None]).double().mean(-1)


def oracle(answers: Tensor, right: Tensor) -> Tensor:
    """1 where any trace is right: no selection can do better."""
    return (answers == right[:, None]).any(-1).double()


def selected(answers: Tensor, right: Tensor, scores: Tensor, how: Selection) -> Tensor:
    """1 where the chosen answer is right."""
    return (select_all(answers, scores, how) == right).double()


def shuffled(
    answers: Tensor, right: Tensor, scores: Tensor, how: Selection, seed: int, shuffles: int = SHUFFLES
) -> Tensor:
    """Scores dealt anew among a question's traces, averaged: a verifier's gain without its knowledge of the trace."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(answers), dtype=torch.float64)
    for _ in range(shuffles):
        order = torch.rand(scores.shape, generator=generator).argsort(-1)
        total += selected(answers, right, scores.gather(-1, order), how)
    return total / shuffles


def subsampled(
    answers: Tensor, right: Tensor, scores: Tensor, how: Selection, n: int, trials: int, seed: int
) -> Tensor:
    """Accuracy with n of the N traces, drawn without replacement anew in each trial; [trials, B]."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(trials):
        kept = torch.rand(scores.shape, generator=generator).argsort(-1)[:, :n]
        rows.append(selected(answers.gather(-1, kept), right, scores.gather(-1, kept), how))
    return torch.stack(rows)
