"""Exit rules: when a token's answer is taken before the last layer (after CALM, arXiv:2207.07061, and PABEE)."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from assay.errors import InvalidInput

Floats = NDArray[np.float64]
_STEPS, _SMALL = 120, 1e-5


class Rule(Enum):
    """What is compared with the threshold after an exit layer.

    MAX_PROBABILITY: probability of the likeliest token. MARGIN: that minus the second's. ENTROPY: nats, exits when
    at most the threshold. STATE_COSINE: cosine of the residuals after and before the layer; needs no head until it
    exits. PATIENCE: exit layers in a row whose answer was that of the one before.
    """

    MAX_PROBABILITY = "max-probability"
    MARGIN = "margin"
    ENTROPY = "entropy"
    STATE_COSINE = "state-cosine"
    PATIENCE = "patience"

    @property
    def probes(self) -> bool:
        """Whether the rule looks at the logits of every exit layer it passes."""
        return self is not Rule.STATE_COSINE

    def exits(self, measure: Tensor, threshold: float) -> Tensor:
        return measure <= threshold if self is Rule.ENTROPY else measure >= threshold


def thresholds(rule: Rule, exit_layers: int, vocabulary: int) -> Floats:
    """The thresholds a rule is tried at, from the one that hardly ever exits to the one that nearly always does.

    Fixed before any data is seen and walked in this order, so that testing them one after the other needs no
    correction. exit_layers: how many there are.
    """
    # Evenly spaced in log-odds: fine near certainty, and down to what always exits.
    if rule is Rule.MAX_PROBABILITY:
        certain: Floats = special.expit(np.linspace(-math.log(_SMALL), -math.log(max(2, vocabulary)), _STEPS))
        return certain
    if rule is Rule.MARGIN:
        return np.append(special.expit(np.linspace(-math.log(_SMALL), math.log(_SMALL), _STEPS - 1)), 0.0)
    if rule is Rule.ENTROPY:
        return np.geomspace(_SMALL, math.log(vocabulary), _STEPS)
    if rule is Rule.STATE_COSINE:
        return 1.0 - np.geomspace(_SMALL, 2.0, _STEPS)
    return np.arange(exit_layers - 1, 0, -1, dtype=np.float64)


def measures(log_p: Tensor) -> dict[Rule, Tensor]:
    """log_p: [..., V], the log-softmax of a layer's logits. Returns what it alone tells, each [...]."""
    p = log_p.exp()
    two = p.topk(2, dim=-1).values
    return {
        Rule.MAX_PROBABILITY: two[..., 0],
        Rule.MARGIN: two[..., 0] - two[..., 1],
        Rule.ENTROPY: torch.special.entr(p).sum(dim=-1),  # 0 log 0 is 0 there
    }


def state_cosine(after: Tensor, before: Tensor) -> Tensor:
    """[..., h] residuals after and before a layer; returns [...]."""
    return torch.cosine_similarity(after.float(), before.float(), dim=-1)


def patience(answers: Tensor) -> Tensor:
    """answers: [E, N] of E exit layers in order. Returns [E, N]: how many layers in a row repeated the one before."""
    runs = torch.zeros_like(answers)
    for index in range(1, len(answers)):
        runs[index] = torch.where(answers[index] == answers[index - 1], runs[index - 1] + 1, 0)
    return runs


def check_threshold(rule: Rule, threshold: float) -> None:
    """InvalidInput where no measure of the rule can be compared with it."""
    if not math.isfinite(threshold):
        raise InvalidInput("threshold", f"is {threshold}; give a finite one")
    if rule is Rule.PATIENCE and threshold < 1:
        raise InvalidInput("threshold", f"is {threshold}; patience counts layers, from 1")
