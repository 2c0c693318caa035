"""Scores from a single pass against loops written out, token by token, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.predict import predict
from assay.models.windows import Windows
from assay_moe_router.core.importance import Metric
from assay_moe_router.core.one_pass import one_pass
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]
NAMES = ["mixtral", "gpt_oss", "deepseek_v3", "switch"]


@torch.no_grad()
def seen_by_experts(model: PreTrainedModel, windows: Windows) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """By layer: what transformers hands to the experts, in one batch: hidden states, choices, weights."""
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    handles = []
    for site in find_sites(model):

        def note(_: object, arguments: tuple[Tensor, ...], named: dict[str, Tensor], layer: int = site.layer) -> None:
            hidden, chosen, weights = (*arguments, *named.values())
            if chosen.ndim == 3:  # Switch: a one-hot mask, all zeros where a token was dropped
                chosen = torch.where(chosen.any(-1), chosen.argmax(-1), 8)
            seen[layer] = hidden.double(), chosen, weights.double()

        handles.append(site.module.register_forward_pre_hook(note, with_kwargs=True))
    predict(model, windows.ids)
    for handle in handles:
        handle.remove()
    return seen


def inner_and_output(model: PreTrainedModel, module: Any, expert: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """One expert on one token by its formula: what enters its last matrix, and what leaves it."""
    if model.config.model_type == "switch_transformers":
        inner = torch.relu(module[f"expert_{expert}"].wi.weight.double() @ x)
        return inner, module[f"expert_{expert}"].wo.weight.double() @ inner
    first, last = module.gate_up_proj[expert].double(), module.down_proj[expert].double()
    if model.config.model_type == "gpt_oss":  # stored [in, out], gate and up in turn, clamped, biased
        both = first.T @ x + module.gate_up_proj_bias[expert].double()
        gate, up = both[0::2].clamp(max=7.0), both[1::2].clamp(-7.0, 7.0)
        inner = (up + 1) * gate * torch.sigmoid(1.702 * gate)
        return inner, last.T @ inner + module.down_proj_bias[expert].double()
    gate, up = (first @ x).chunk(2)
    inner = gate * torch.sigmoid(gate) * up
    return inner, last @ inner


def matrices(model: PreTrainedModel, module: Any, expert: int) -> tuple[Tensor, Tensor]:
    """[out, in] both, in float64."""
    if model.config.model_type == "switch_transformers":
        return module[f"expert_{expert}"].wi.weight.double(), module[f"expert_{expert}"].wo.weight.double()
    first, last = module.gate_up_proj[expert].double(), module.down_proj[expert].double()
    return (first.T, last.T) if model.config.model_type == "gpt_oss" else (first, last)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_activation_norm_is_the_mean_over_all_tokens_of_what_leaves_with_the_expert(
    build: Build, windows: Windows, name: str
) -> None:
    model = build(name)
    found = one_pass(model, windows, Metric.ACTIVATION_NORM, batch=4, cancel=CancelToken())
    for site, scores in zip(find_sites(model), found.layers, strict=True):
        hidden, chosen, weights = seen_by_experts(model, windows)[site.layer]
        sums = np.zeros(8)
        for token in range(len(hidden)):
            for position, expert in enumerate(chosen[token].tolist()):
                if expert < 8:
                    _, output = inner_and_output(model, site.module, expert, hidden[token])
                    sums[expert] += float(weights[token, position] * output.norm())
        np.testing.assert_allclose(scores.scores, sums / len(hidden), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_wanda_row_is_weight_times_input_norm(build: Build, windows: Windows, name: str) -> None:
    model = build(name)
    # In two batches: norms of inputs add up as squares, not as norms.
    found = one_pass(model, windows, Metric.WANDA_ROW, batch=4, cancel=CancelToken())
    for site, scores in zip(find_sites(model), found.layers, strict=True):
        hidden, chosen, _ = seen_by_experts(model, windows)[site.layer]
        for expert in range(8):
            mine = [x for x, experts in zip(hidden, chosen.tolist(), strict=True) if expert in experts]
            rows: list[float] = []
            if mine:
                inner = [inner_and_output(model, site.module, expert, x)[0] for x in mine]
                for matrix, inputs in zip(matrices(model, site.module, expert), (mine, inner), strict=True):
                    norms = torch.stack(inputs).norm(dim=0)
                    rows += [float((row.abs() * norms).sum()) for row in matrix]
            expected = np.mean(rows) if rows else 0.0
            np.testing.assert_allclose(scores.scores[expert], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_frequency_is_the_share_of_choices(build: Build, windows: Windows, name: str) -> None:
    model = build(name)
    found = one_pass(model, windows, Metric.FREQUENCY, batch=4, cancel=CancelToken())
    for scores in found.layers:
        assert scores.scores.sum() == pytest.approx(1)
        assert scores.per_sequence is not None
        np.testing.assert_allclose(scores.per_sequence.mean(axis=1), scores.scores, rtol=1e-12)
    if name != "switch":  # whose drops count as choices
        for layer, (_, chosen, _) in seen_by_experts(model, windows).items():
            plain = torch.bincount(chosen.flatten(), minlength=8) / chosen.numel()
            np.testing.assert_allclose(found.layer(layer).scores, plain.numpy(), rtol=1e-6)


@torch.no_grad()
def test_an_expert_that_no_token_reaches_scores_nothing(build: Build) -> None:
    model, windows = build("mixtral"), Windows(torch.tensor([[5, 9, 17]]), ("test",))
    chosen = set(seen_by_experts(model, windows)[0][1].flatten().tolist())
    for metric in (Metric.ACTIVATION_NORM, Metric.WANDA_ROW, Metric.FREQUENCY):
        scores = one_pass(model, windows, metric, batch=1, cancel=CancelToken()).layer(0).scores
        assert {expert for expert in range(8) if scores[expert] > 0} == chosen


def test_leaving_out_is_another_functions_work(build: Build, windows: Windows) -> None:
    with pytest.raises(InvalidInput, match="leave_one_out"):  # it would be scored by Wanda without a word
        one_pass(build("mixtral"), windows, Metric.LEAVE_ONE_OUT_LOSS, batch=1, cancel=CancelToken())
