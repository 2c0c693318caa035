"""Measures and thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import tensor

from assay.errors import InvalidInput
from assay_inference_optimizer.core.early_exit.rules import (
    Rule,
    check_threshold,
    measures,
    patience,
    thresholds,
)


def test_measures_by_hand() -> None:
    found = measures(tensor([[math.log(0.5), math.log(0.3), math.log(0.2)], [0.0, -math.inf, -math.inf]]))
    assert found[Rule.MAX_PROBABILITY].tolist() == pytest.approx([0.5, 1.0])
    assert found[Rule.MARGIN].tolist() == pytest.approx([0.2, 1.0])
    assert found[Rule.ENTROPY].tolist() == pytest.approx([1.0297, 0.0], abs=1e-4)


def test_patience_counts_layers_that_repeat_the_one_before() -> None:
    assert patience(tensor([[5, 1], [5, 2], [5, 2], [7, 2], [7, 1]])).T.tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 0]]


@pytest.mark.parametrize("rule", list(Rule))
def test_thresholds_go_from_careful_to_bold(rule: Rule) -> None:
    grid = thresholds(rule, 7, 1024)
    values = torch.linspace(-1, 8, 1000)
    shares = [float(rule.exits(values, t).float().mean()) for t in grid.tolist()]
    assert shares == sorted(shares)
    assert len(np.unique(grid)) == len(grid)
    # The boldest lets everything go that there can be.
    least = {Rule.MAX_PROBABILITY: 1 / 1024, Rule.MARGIN: 0.0, Rule.ENTROPY: math.log(1024), Rule.STATE_COSINE: -1.0}
    assert rule is Rule.PATIENCE or bool(rule.exits(tensor(least[rule], dtype=torch.float64), grid[-1]))


def test_impossible_thresholds_are_invalid() -> None:
    for rule, value in ((Rule.MARGIN, math.nan), (Rule.PATIENCE, 0.0)):
        with pytest.raises(InvalidInput, match="threshold"):
            check_threshold(rule, value)
