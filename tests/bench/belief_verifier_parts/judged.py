"""Fresh traces of one generator, what the verifiers say of them, and how well they tell right steps from wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay_tom_verifier.core.verifier.calibration import brier, brier_skill, reliability
from assay_tom_verifier.core.verifier.first_error import StepRates, separation, until_first_error
from assay_tom_verifier.core.verifier.losses import prefix_labels
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.questions import Questions
from assay_tom_verifier.core.verifier.sample import sample_traces
from bench.moe_parts.tables import show


@dataclass(frozen=True)
class Traces:
    """N traces of each question: claims and prefix labels [B, N, T], answers [B, N]; right: [B], the right answers."""

    questions: Questions
    claims: Tensor
    labels: Tensor
    right: Tensor

    @property
    def answers(self) -> Tensor:
        return self.questions.last_of(self.claims)

    @property
    def mask(self) -> Tensor:
        """[B, 1, T]."""
        return self.questions.mask[:, None]

    @property
    def stories(self) -> Any:
        return self.questions.stories.numpy()


def fresh(generator: BeliefNetwork, questions: Questions, n: int, seed: int, right: Tensor | None = None) -> Traces:
    """right: answers as published; None: as the rules give them."""
    claims = sample_traces(generator, questions, n, torch.Generator().manual_seed(seed))
    right = questions.answers if right is None else right
    return Traces(questions, claims, prefix_labels(questions, claims), right)


@dataclass(frozen=True)
class StepQuality:
    """AUCs as `Separation` names them. brier, skill, ece: of all steps; *_until: of steps up to each first error."""

    generator: str
    judge: str
    step_accuracy: float
    naive: float
    at_first_error: float
    same_step: float
    brier: float
    skill: float
    ece: float
    skill_until: float
    ece_until: float
    bins: tuple[tuple[float, float, int], ...]


def step_quality(name: str, said: Tensor, traces: Traces, fitted_on: Traces) -> list[StepQuality]:
    """The verifier, which said [B, N, T], and the two judges that read nothing, whose rates come from other traces of
    the same generator.
    """
    labels, mask = traces.labels.numpy(), traces.mask.numpy()
    orders = traces.questions.orders.numpy()
    rates = [
        StepRates(
            fitted_on.labels.numpy(), fitted_on.mask.numpy(), fitted_on.questions.orders.numpy(), by_order=by_order
        ).score(labels.shape, orders)
        for by_order in (False, True)
    ]
    judges = zip(("verifier", "step's number", "number and order"), (said.double().numpy(), *rates), strict=True)
    return [_quality(name, judge, scores, labels, mask) for judge, scores in judges]


def _quality(name: str, judge: str, scores: Any, labels: Any, mask: Any) -> StepQuality:
    found = separation(scores, labels, mask)
    every = np.broadcast_to(mask, labels.shape)
    until = until_first_error(labels) & every
    diagram = reliability(scores[every], labels[every])
    bins = zip(diagram.scores, diagram.shares, diagram.counts, strict=True)
    return StepQuality(
        name,
        judge,
        float(labels[every].mean()),
        found.naive,
        found.at_first_error,
        found.same_step,
        brier(scores[every], labels[every]),
        brier_skill(scores[every], labels[every]),
        diagram.error,
        brier_skill(scores[until], labels[until]),
        reliability(scores[until], labels[until]).error,
        tuple((float(score), float(share), int(count)) for score, share, count in bins if count),
    )


def print_steps(title: str, rows: Sequence[StepQuality], *remarks: str) -> None:
    show(
        title,
        ("traces of", "judge", "right steps", "AUC naive", "first error", "same step", "Brier", "skill", "ECE",
         "skill until", "ECE until"),
        [
            (row.generator, row.judge, f"{row.step_accuracy:.3f}", f"{row.naive:.3f}", f"{row.at_first_error:.3f}",
             f"{row.same_step:.3f}", f"{row.brier:.4f}", f"{row.skill:+.3f}", f"{row.ece:.3f}",
             f"{row.skill_until:+.3f}", f"{row.ece_until:.3f}")
            for row in rows
        ],
        *remarks,
    )  # fmt: skip
