"""Does a verifier see where a trace first goes wrong, rather than that late steps of long traces tend to be wrong?

Under prefix labels every step after an error is wrong too, so that a step's number alone tells much of its label. What
is compared here are steps up to and including the first error: the erring step must score below right steps, of the
same question, and then also at the same place in it, where number and question tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from assay.errors import InvalidInput

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Separation:
    """AUCs: the odds that a right step scores above a wrong one, ties half.

    naive: all steps of all questions, errors' followers too. at_first_error: steps up to each trace's first error,
    pairs within a question; same_step: of these the pairs at the same step. groups, pairs: questions with pairs of
    at_first_error, and how many.
    """

    naive: float
    at_first_error: float
    same_step: float
    groups: int
    pairs: int


def separation(scores: Floats, correct: Bools, mask: Bools) -> Separation:
    """scores: [B, N, T]; correct: [B, N, T] prefix labels; mask: [B, 1, T] or [B, N, T], true where there is a step.

    AUCs are over all pairs, so a question with more pairs weighs more. NaN where there are no pairs.
    """
    counted = np.broadcast_to(mask, scores.shape)
    until = until_first_error(correct) & counted
    question = np.arange(scores.shape[0])[:, None, None]
    step = np.arange(scores.shape[2])
    within = np.broadcast_to(question, scores.shape)
    place = np.broadcast_to(question * scores.shape[2] + step, scores.shape)
    area, groups, pairs = grouped_auc(scores[until], correct[until], within[until])
    return Separation(
        naive=auc(scores[counted], correct[counted]),
        at_first_error=area,
        same_step=grouped_auc(scores[until], correct[until], place[until])[0],
        groups=groups,
        pairs=pairs,
    )


def until_first_error(correct: Bools) -> Bools:
    """True for each step whose earlier steps are all right: the right ones and the first wrong one; [..., T]."""
    before = np.ones_like(correct)
    before[..., 1:] = correct[..., :-1]
    return before


def auc(scores: Floats, right: Bools) -> float:
    """The odds that a right one scores above a wrong one, ties half (Mann-Whitney); NaN where one kind is missing."""
    return grouped_auc(scores, right, np.zeros(len(scores), dtype=np.int64))[0]


def grouped_auc(scores: Floats, right: Bools, groups: NDArray[np.int64]) -> tuple[float, int, int]:
    """AUC over all pairs of one right and one wrong item of the same group, [n] all; with groups and pairs counted.

    Sums each group's Mann-Whitney U and divides by the pairs of all.
    """
    order = np.argsort(groups, kind="stable")
    scores, right, groups = scores[order], right[order], groups[order]
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.zeros(0, dtype=np.int64)
    won = 0.0
    pairs = used = 0
    for own_scores, own_right in zip(np.split(scores, starts[1:]), np.split(right, starts[1:]), strict=True):
        rights = int(own_right.sum())
        wrongs = len(own_right) - rights
        if rights and wrongs:
            won += float(rankdata(own_scores)[own_right].sum()) - rights * (rights + 1) / 2
            pairs += rights * wrongs
            used += 1
    return (won / pairs if pairs else float("nan")), used, pairs


class StepRates:
    """A verifier that reads nothing: the share of right steps at this step's number, and order where `by_order`.

    Fitted on one set of traces, used on another; a cell never met gets the share of all.
    """

    def __init__(self, correct: Bools, mask: Bools, orders: NDArray[np.int64], *, by_order: bool) -> None:
        if not mask.any():
            raise InvalidInput("traces", "have no steps; give some to fit rates on")
        self._by_order = by_order
        counted = np.broadcast_to(mask, correct.shape)
        cells = np.broadcast_to(self._cells(correct.shape, orders), correct.shape)[counted]
        right = correct[counted]
        counts = np.bincount(cells)
        self._rates = np.full(len(counts), float(right.mean()))
        filled = counts > 0
        self._rates[filled] = np.bincount(cells, weights=right)[filled] / counts[filled]
        self._overall = float(right.mean())

    def score(self, shape: tuple[int, int, int], orders: NDArray[np.int64]) -> Floats:
        """[B, N, T] scores for traces of questions with these orders, [B]."""
        cells = self._cells(shape, orders)
        known = cells < len(self._rates)
        rates = np.where(known, self._rates[np.where(known, cells, 0)], self._overall)
        return np.broadcast_to(rates, shape)

    def _cells(self, shape: tuple[int, ...], orders: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B, 1, T]: a number for each pair of step and order; steps count furthest, so that longer stories fit in."""
        steps = np.arange(shape[2])
        width = 8 if self._by_order else 1
        return steps[None, None, :] * width + (orders[:, None, None] if self._by_order else 0 * orders[:, None, None])
