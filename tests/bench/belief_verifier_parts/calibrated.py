"""Do scores still mean what they say on longer stories than were trained on, and does one temperature mend them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay_tom_verifier.core.verifier.calibration import brier, brier_skill, reliability
from assay_tom_verifier.core.verifier.first_error import until_first_error
from bench.belief_verifier_parts.judged import Traces
from bench.moe_parts.tables import show

# Scores are float32: nearer to 0 or 1 than this they have no logit.
EDGE = 1e-7
TEMPERATURES = np.geomspace(0.25, 16, 241)


@dataclass(frozen=True)
class Calibration:
    """Of all steps, and of steps up to each trace's first error (`until`). remedy: what the logits were divided by,
    and where that number comes from.
    """

    length: int
    remedy: str
    temperature: float
    brier: float
    skill: float
    ece: float
    brier_until: float
    skill_until: float
    ece_until: float


def fitted(said: Tensor, traces: Traces) -> float:
    """The temperature of least cross-entropy on these steps (Guo et al., arXiv:1706.04599), to 2 %."""
    mask = np.broadcast_to(traces.mask.numpy(), said.shape)
    logits, right = _logits(said)[mask], traces.labels.numpy()[mask]
    signed = np.where(right, logits, -logits)
    losses = [np.logaddexp(0, -signed / temperature).mean() for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def calibration(length: int, remedy: str, temperature: float, said: Tensor, traces: Traces) -> Calibration:
    scores = 1 / (1 + np.exp(-_logits(said) / temperature))
    labels, every = traces.labels.numpy(), np.broadcast_to(traces.mask.numpy(), said.shape)
    until = until_first_error(labels) & every
    return Calibration(length, remedy, temperature, *_quality(scores, labels, every), *_quality(scores, labels, until))


def print_calibration(rows: Sequence[Calibration]) -> None:
    show(
        "Scores as probabilities, trained on one chapter",
        ("chapters", "logits divided by", "remedy", "Brier", "skill", "ECE", "Brier until", "skill until", "ECE until"),
        [
            (str(row.length), f"{row.temperature:.2f}", row.remedy, f"{row.brier:.4f}", f"{row.skill:+.3f}",
             f"{row.ece:.3f}", f"{row.brier_until:.4f}", f"{row.skill_until:+.3f}", f"{row.ece_until:.3f}")
            for row in rows
        ],
    )  # fmt: skip


def _logits(said: Tensor) -> Any:
    return torch.logit(said.double(), eps=EDGE).numpy()


def _quality(scores: Any, labels: Any, kept: Any) -> tuple[float, float, float]:
    of, right = scores[kept], labels[kept]
    return brier(of, right), brier_skill(of, right), reliability(of, right).error
