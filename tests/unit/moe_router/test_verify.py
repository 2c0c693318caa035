"""What may become active is the model; what is damaged may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay.models.checkpoint import load_model
from assay.models.windows import Windows
from assay_moe_router.core.export import BalancedModel, read_balanced, write_balanced
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.replicate_quantize import Policy
from assay_moe_router.core.verify import verify

Pair = Callable[..., tuple[PreTrainedModel, BalancedModel]]


@pytest.fixture
def pair(
    build: Callable[[str], PreTrainedModel], plan_of: Callable[..., BalancePlan], saved: Any, tokens: Tensor
) -> Pair:
    def make(**options: Any) -> tuple[PreTrainedModel, BalancedModel]:
        model = build("mixtral")
        with torch.no_grad():  # experts that say something, so that wrong ones are heard
            for layer in model.model.layers:
                layer.mlp.experts.down_proj.mul_(4)
            model.lm_head.weight.mul_(20)
        folder, stored = saved(model)
        plan = plan_of(load_model(folder), tokens, **options)
        write_balanced(folder, stored, plan, folder.parent / "balanced", cancel=CancelToken())
        return load_model(folder, dtype=torch.float32), read_balanced(folder.parent / "balanced")

    return make


def test_an_exact_plan_differs_by_nothing(pair: Pair, windows: Windows) -> None:
    found = verify(*pair(exact=True), windows)
    assert (found.max_abs_difference, found.mean_divergence_nats) == (0.0, 0.0)


def test_int8_differs_by_a_little(pair: Pair, windows: Windows) -> None:
    found = verify(*pair(policy=Policy.BYTES), windows)
    assert 0 < found.mean_divergence_nats < 0.01
    assert found.max_abs_difference > 0


def test_swapped_experts_are_refused(pair: Pair, windows: Windows) -> None:
    original, balanced = pair(policy=Policy.BYTES)
    for packed in balanced.packed.values():
        packed._slots.reverse()
        packed._plan = replace(packed._plan, slot_bits=tuple(reversed(packed._plan.slot_bits)))
    with pytest.raises(FailedPrecondition, match=r"strays [0-9.]+ nats") as caught:
        verify(original, balanced, windows)
    assert caught.value.reason == "VERIFICATION_FAILED"


def test_an_exact_plan_may_not_differ_at_all(pair: Pair, windows: Windows) -> None:
    original, balanced = pair(exact=True)
    for packed in balanced.packed.values():
        for stored in packed._slots:
            stored["down_proj"][0, 0] *= 1 + 2**-8  # one step of bfloat16
    with pytest.raises(FailedPrecondition, match="although the plan is exact"):
        verify(original, balanced, windows)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_on_either_side(pair: Pair, windows: Windows, value: float) -> None:
    original, balanced = pair(policy=Policy.BYTES)
    with torch.no_grad():
        sound = balanced.model.lm_head.weight[3].clone()
        balanced.model.lm_head.weight[3] = value
    with pytest.raises(FailedPrecondition, match="balanced model gives values that are not finite"):
        verify(original, balanced, windows)
    with torch.no_grad():
        balanced.model.lm_head.weight[3] = sound
        original.lm_head.weight[3] = value
    # Every comparison with NaN is false, "above the limit" too.
    with pytest.raises(FailedPrecondition, match="original model gives values that are not finite"):
        verify(original, balanced, windows)
