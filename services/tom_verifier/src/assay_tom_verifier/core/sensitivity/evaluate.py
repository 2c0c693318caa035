"""A model under a mask against itself as it was: tasks, perplexity, and whether there is anything to conclude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.answers import Answers, Asked
from assay_tom_verifier.core.sensitivity.parameter_mask import ParameterMask
from assay_tom_verifier.core.sensitivity.perplexity import window_nats
from assay_tom_verifier.core.sensitivity.perturb import perturbed
from assay_tom_verifier.core.sensitivity.tasks.item import THEORY_OF_MIND, Cell, Item, Task
from assay_tom_verifier.core.verifier.bootstrap import Interval, clustered_mean

# What a model must answer before anything is taken from it: below, a drop would be noise about a guess.
LEAST_ANSWERED = 0.8


@dataclass(frozen=True)
class Measured:
    """One state of a model. answers: by item of the suite. nats: [S] mean a token of each window of general text."""

    answers: Answers
    nats: NDArray[np.float64]

    @property
    def perplexity(self) -> float:
        return math.exp(min(float(self.nats.mean()), 700.0))


@dataclass(frozen=True)
class Passed:
    """By cell of some tasks, [n] bool: all its items answered right. clusters: [n], equal for cells of one template."""

    cells: tuple[Cell, ...]
    passed: NDArray[np.bool_]
    clusters: NDArray[np.int64]

    @property
    def score(self) -> float:
        return float(self.passed.mean())


def measure(
    model: PreTrainedModel, asked: Asked, windows: Windows, *, mask: ParameterMask | None = None, cancel: CancelToken
) -> Measured:
    """Under `mask` where one is given; the model is as before afterwards."""
    if mask is None:
        return Measured(asked.answers(model, cancel=cancel), window_nats(model, windows, cancel=cancel))
    with perturbed(model, mask):
        return measure(model, asked, windows, cancel=cancel)


def passed(items: Sequence[Item], answers: Answers, tasks: Sequence[Task] = THEORY_OF_MIND) -> Passed:
    """Cells of `tasks` whose items all get the exact first word. InvalidInput where there are none."""
    right: dict[Cell, bool] = {}
    for item, first in zip(items, answers.first_word.tolist(), strict=True):
        if item.cell.task in tasks:
            right[item.cell] = right.get(item.cell, True) and first
    if not right:
        raise InvalidInput("tasks", "have no items; give some of the suite's")
    templates = {key: number for number, key in enumerate(dict.fromkeys((c.task, c.template) for c in right))}
    clusters = [templates[cell.task, cell.template] for cell in right]
    return Passed(tuple(right), np.array(list(right.values())), np.array(clusters))


def task_scores(items: Sequence[Item], answers: Answers) -> dict[Task, float]:
    """Share of cells passed, by task."""
    return {task: passed(items, answers, [task]).score for task in dict.fromkeys(item.cell.task for item in items)}


def tom_score(items: Sequence[Item], answers: Answers) -> float:
    """Mean of unexpected contents and unexpected transfer, the published summary."""
    scores = task_scores(items, answers)
    return (scores["unexpected-contents"] + scores["unexpected-transfer"]) / 2


def change(
    items: Sequence[Item], before: Sequence[Answers], after: Sequence[Answers], tasks: Sequence[Task], seed: int = 0
) -> Interval:
    """Share of cells passed after less before, with its 95 % interval; whole templates are drawn.

    before, after: pairs on the same items, one a seed. A template's cells of all seeds stay together.
    """
    pairs = [(passed(items, b, tasks), passed(items, a, tasks)) for b, a in zip(before, after, strict=True)]
    differences = [a.passed.astype(np.float64) - b.passed for b, a in pairs]
    return clustered_mean(np.concatenate(differences), np.concatenate([b.clusters for b, _ in pairs]), seed=seed)


def nats_change(before: Sequence[Measured], after: Sequence[Measured], seed: int = 0) -> Interval:
    """Nats a token of general text after less before; windows are drawn, all seeds' of one window together."""
    differences = np.concatenate([a.nats - b.nats for b, a in zip(before, after, strict=True)])
    windows = np.concatenate([np.arange(len(b.nats)) for b in before])
    return clustered_mean(differences, windows, seed=seed)


@dataclass(frozen=True)
class Standing:
    """Whether a model answers well enough to be examined: in every task of `scores`, LEAST_ANSWERED of the cells."""

    scores: dict[Task, float]

    @property
    def conclusive(self) -> bool:
        return all(score >= LEAST_ANSWERED for score in self.scores.values())

    def shown(self) -> str:
        low = [f"{task} {100 * score:.0f} %" for task, score in self.scores.items() if score < LEAST_ANSWERED]
        if not low:
            return "answers enough of the fixed templates before anything is perturbed"
        return (
            f"nothing can be concluded: unperturbed it passes {', '.join(low)} of the cells, below "
            f"{100 * LEAST_ANSWERED:.0f} %; use a model that answers these tasks"
        )


def standing(items: Sequence[Item], answers: Answers) -> Standing:
    """Of the two false-belief tasks, which the mask is made of."""
    scores = task_scores(items, answers)
    return Standing({task: scores[task] for task in ("unexpected-contents", "unexpected-transfer")})
