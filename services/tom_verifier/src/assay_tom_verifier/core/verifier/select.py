"""Choosing one answer out of many traces."""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from assay.errors import InvalidInput

Answer = TypeVar("Answer", bound=Hashable)


class Selection(enum.Enum):
    """VANILLA: the answer of the best trace; WEIGHTED: of the answer whose traces' scores add up to most;
    MAJORITY: the most frequent answer, whatever the scores.
    """

    VANILLA = "vanilla"
    WEIGHTED = "weighted"
    MAJORITY = "majority"


@dataclass(frozen=True)
class Weight(Generic[Answer]):
    """What speaks for an answer. weight: its best trace's score, its scores' sum, or its votes, as was selected by."""

    answer: Answer
    weight: float
    votes: int


@dataclass(frozen=True)
class Choice(Generic[Answer]):
    """trace: index of the chosen answer's best trace; weights: of all answers, highest first."""

    answer: Answer
    trace: int
    weights: tuple[Weight[Answer], ...]


def select(answers: Sequence[Answer], scores: Sequence[float], how: Selection) -> Choice[Answer]:
    """Chooses among traces by their answers and aggregated scores, [N] both, scores in [0, 1].

    Ties go to what comes first: the earlier trace, and of two answers that with the earlier first trace. That is a
    fair draw where the traces are. Raises InvalidInput for no traces, lengths that differ, scores outside [0, 1].
    """
    if not answers:
        raise InvalidInput("traces", "are none; give at least one")
    if len(answers) != len(scores):
        raise InvalidInput("scores", f"are {len(scores)} for {len(answers)} traces; give one of each")
    if not all(0 <= score <= 1 for score in scores):
        raise InvalidInput("scores", "hold NaN or a number outside [0, 1]; give probabilities")
    traces: dict[Answer, list[int]] = {}
    for index, answer in enumerate(answers):
        traces.setdefault(answer, []).append(index)
    best = {answer: max(own, key=lambda index: scores[index]) for answer, own in traces.items()}
    weights = [
        Weight(answer, _weight(how, [scores[index] for index in own]), len(own)) for answer, own in traces.items()
    ]
    if how is Selection.VANILLA:
        weights.sort(key=lambda each: best[each.answer])  # of equal traces the earlier, whichever answer came up first
    weights.sort(key=lambda each: -each.weight)
    return Choice(weights[0].answer, best[weights[0].answer], tuple(weights))


def whole(answers: Sequence[str], steps: Sequence[int]) -> list[int]:
    """Indices of the traces that can be compared: those that answer and have as many steps as the longest that does.

    A trace that stops early has had fewer steps to go wrong in, and a product or a minimum would prefer it. All of
    them where none answers. Both arguments are [N].
    """
    longest = max((count for answer, count in zip(answers, steps, strict=True) if answer), default=None)
    if longest is None:
        return list(range(len(answers)))
    found = enumerate(zip(answers, steps, strict=True))
    return [index for index, (answer, count) in found if answer and count == longest]


def _weight(how: Selection, scores: list[float]) -> float:
    match how:
        case Selection.VANILLA:
            return max(scores)
        case Selection.WEIGHTED:
            return math.fsum(scores)
        case Selection.MAJORITY:
            return float(len(scores))


def select_all(answers: Tensor, scores: Tensor, how: Selection) -> Tensor:
    """`select` for many questions: answers [..., N] int64, scores [..., N]; returns the chosen answers, [...]."""
    if how is Selection.VANILLA:
        return answers.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1)
    weights = scores.double() if how is Selection.WEIGHTED else torch.ones_like(scores, dtype=torch.float64)
    if answers.shape[-1] <= 32:
        equal = answers[..., :, None] == answers[..., None, :]
        support = (equal * weights[..., None, :]).sum(-1)
    else:
        votes = torch.zeros(*answers.shape[:-1], int(answers.max()) + 1, dtype=torch.float64)
        support = votes.scatter_add(-1, answers, weights).gather(-1, answers)
    return answers.gather(-1, support.argmax(-1, keepdim=True)).squeeze(-1)
