"""Removal against models whose expert really is gone, computed in float64 by transformers' own code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.models.windows import Windows
from assay_moe_router.core.importance import Importance, Metric
from assay_moe_router.core.leave_one_out import leave_one_out
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]


@torch.no_grad()
def losses_and_hits(model: PreTrainedModel, ids: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of each sequence, as the definition has it; nothing of `core` takes part."""
    if model.config.is_encoder_decoder:
        half = ids.shape[1] // 2
        source, targets = ids[:, :half], ids[:, half:]
        shifted = torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], dim=1)
        logits = model(input_ids=source, decoder_input_ids=shifted).logits
    else:
        logits, targets = model(input_ids=ids[:, :-1]).logits, ids[:, 1:]
    nats = -logits.double().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return nats.mean(dim=1).numpy(), (logits.argmax(-1) == targets).double().mean(dim=1).numpy()


@torch.no_grad()
def silence(model: PreTrainedModel, layer: int, expert: int) -> None:
    """Zeroes all that the expert adds to its output: the down projection and, in GPT-OSS, its bias."""
    site = next(site for site in find_sites(model) if site.layer == layer)
    module: Any = site.module
    if model.config.model_type == "switch_transformers":
        module[f"expert_{expert}"].wo.weight.zero_()
        return
    module.down_proj[expert].zero_()
    if hasattr(module, "down_proj_bias"):
        module.down_proj_bias[expert].zero_()


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "deepseek_v3", "switch"])
def test_scores_are_those_of_models_without_the_expert(build: Build, windows: Windows, name: str) -> None:
    model = build(name)
    exact = copy.deepcopy(model).double()
    whole_loss, whole_hits = losses_and_hits(exact, windows.ids)
    layers = [site.layer for site in find_sites(model)]
    for layer in (layers[0], layers[-1]):
        found = {
            metric: leave_one_out(model, windows, metric, layer, range(8), batch=4, cancel=CancelToken()).layers[0]
            for metric in (Metric.LEAVE_ONE_OUT_LOSS, Metric.LEAVE_ONE_OUT_ACCURACY)
        }
        for expert in range(8):
            without = copy.deepcopy(exact)
            silence(without, layer, expert)
            loss, hits = losses_and_hits(without, windows.ids)
            loss_scores, accuracy_scores = found.values()
            # float32 against float64; the scores themselves are up to 0.01 and more.
            np.testing.assert_allclose(loss_scores.per_sequence[expert], loss - whole_loss, atol=2e-6, rtol=1e-4)
            np.testing.assert_allclose(accuracy_scores.per_sequence[expert], whole_hits - hits, atol=1e-12)
        assert np.abs(found[Metric.LEAVE_ONE_OUT_LOSS].scores).max() > 1e-3
        for scores in found.values():
            assert scores.experts == tuple(range(8))
            np.testing.assert_allclose(scores.scores, scores.per_sequence.mean(axis=1), rtol=1e-12)


@torch.no_grad()
def test_the_rest_is_not_renormalised(build: Build, windows: Windows) -> None:
    model = build("mixtral")
    scores = leave_one_out(model, windows, Metric.LEAVE_ONE_OUT_LOSS, 1, range(8), batch=6, cancel=CancelToken())
    whole, _ = losses_and_hits(model, windows.ids)
    renormalised = []
    for expert in range(8):

        def without(_module: object, _arguments: object, output: tuple[Tensor, ...], expert: int = expert) -> Any:
            logits, weights, index = output
            weights = weights.masked_fill(index == expert, 0)
            return logits, weights / weights.sum(dim=-1, keepdim=True), index

        handle = model.model.layers[1].mlp.gate.register_forward_hook(without)
        renormalised.append((losses_and_hits(model, windows.ids)[0] - whole).mean())
        handle.remove()
    # The other choice would give other numbers, by much more than rounding.
    assert np.abs(scores.layers[0].scores - renormalised).max() > 1e-3


@torch.no_grad()
def test_an_expert_that_no_token_reaches_scores_exactly_nothing(build: Build) -> None:
    model, windows = build("mixtral"), Windows(torch.tensor([[5, 9, 17]]), ("test",))
    with observe(model) as observer:
        model(windows.ids[:, :-1])
    unused = np.flatnonzero(observer.statistics().layer(0).loads == 0).tolist()
    assert len(unused) >= 4  # two tokens choose two experts each
    for metric in (Metric.LEAVE_ONE_OUT_LOSS, Metric.LEAVE_ONE_OUT_ACCURACY):
        (scores,) = leave_one_out(model, windows, metric, 0, unused, batch=1, cancel=CancelToken()).layers
        assert scores.scores.tolist() == [0.0] * len(unused)  # to the bit


def test_shards_give_the_numbers_of_one_run(build: Build, windows: Windows) -> None:
    model = build("deepseek_v3")

    def score(experts: range) -> Importance:
        return leave_one_out(model, windows, Metric.LEAVE_ONE_OUT_LOSS, 2, experts, batch=4, cancel=CancelToken())

    (whole,), (merged,) = score(range(8)).layers, Importance.merge([score(range(5, 8)), score(range(5))]).layers
    assert merged.experts == whole.experts
    assert np.array_equal(merged.scores, whole.scores)
    assert np.array_equal(merged.per_sequence, whole.per_sequence)  # type: ignore[arg-type]


@torch.no_grad()
def test_the_model_is_as_it_was_afterwards(build: Build, windows: Windows) -> None:
    model = build("gpt_oss")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = model(windows.ids).logits
    leave_one_out(model, windows, Metric.LEAVE_ONE_OUT_LOSS, 0, [3], batch=4, cancel=CancelToken())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(windows.ids).logits, logits)


def test_progress_counts_every_sequence_of_every_pass(build: Build, windows: Windows) -> None:
    told: list[tuple[int, int]] = []
    leave_one_out(
        build("mixtral"), windows, Metric.LEAVE_ONE_OUT_LOSS, 0, [1, 2], batch=4, cancel=CancelToken(),
        progress=lambda done, total, unit="", **figures: told.append((done, total)),
    )  # fmt: skip
    assert told == [(done, 18) for done in (4, 6, 10, 12, 16, 18)]  # the whole model, then without one, twice


def test_cancelled_work_stops_before_the_next_batch(build: Build, windows: Windows) -> None:
    cancel, model = CancelToken(), build("mixtral")
    with pytest.raises(Cancelled):
        leave_one_out(
            model, windows, Metric.LEAVE_ONE_OUT_LOSS, 0, range(8), batch=2, cancel=cancel,
            progress=lambda done, total, unit="", **figures: cancel.cancel(),
        )  # fmt: skip
    assert "_assay_run" not in vars(model.model.layers[0].mlp.experts)


def test_bad_requests_are_named(build: Build, windows: Windows) -> None:
    model = build("deepseek_v3")

    def score(metric: Metric, layer: int, experts: list[int]) -> None:
        leave_one_out(model, windows, metric, layer, experts, batch=4, cancel=CancelToken())

    with pytest.raises(InvalidInput, match="layer: 0 has no routed experts; there are 1, 2"):
        score(Metric.LEAVE_ONE_OUT_LOSS, 0, [1])
    for experts in ([], [8], [-1]):
        with pytest.raises(InvalidInput, match="experts: of layer 1 are 0 to 7"):
            score(Metric.LEAVE_ONE_OUT_LOSS, 1, experts)
    with pytest.raises(InvalidInput, match="metric: frequency"):  # it would be scored by accuracy without a word
        score(Metric.FREQUENCY, 1, [1])
