"""Intervals cover what they should, shards add up, and both models are asked the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput
from assay.models.checkpoint import load_model
from assay.models.windows import Windows
from assay_moe_router.core.balanced import balanced
from assay_moe_router.core.evaluate import Evaluation, Measured, evaluate, measure, paired, resampled_means
from assay_moe_router.core.export import BalancedModel, read_balanced, write_balanced
from assay_moe_router.core.plan import Balance, BalancePlan
from assay_moe_router.core.predictions import Prediction
from assay_moe_router.core.replicate_quantize import Policy

PlanOf = Callable[..., BalancePlan]


@pytest.fixture
def pair(
    build: Callable[[str], PreTrainedModel], plan_of: PlanOf, saved: Any, tokens: Tensor
) -> tuple[PreTrainedModel, BalancedModel]:
    """A model, and itself balanced with int4 replicas and payers."""
    folder, stored = saved(build("deepseek_v3"))
    original = load_model(folder, dtype=torch.float32)
    plan = plan_of(load_model(folder), tokens, policy=Policy.BYTES, bits=(4,))
    write_balanced(folder, stored, plan, folder.parent / "balanced", cancel=CancelToken())
    return original, read_balanced(folder.parent / "balanced")


def test_two_pairs_resample_to_three_means() -> None:
    # Differences 0 and 4: a resample of two has mean 0, 2, 4 with odds 1/4, 1/2, 1/4; the 2.5 % ends are 0 and 4.
    found = paired(np.array([1.0, 1.0]), np.array([1.0, 5.0]), resamples=4000, seed=1)
    assert (found.before, found.after, found.change) == (1.0, 3.0, 2.0)
    assert (found.low, found.high) == (0.0, 4.0)
    means = resampled_means(np.array([0.0, 4.0]), 4000, np.random.default_rng(0))
    for mean, odds in ((0, 0.25), (2, 0.5), (4, 0.25)):
        assert (means == mean).mean() == pytest.approx(odds, abs=0.03)  # 4 standard errors


def test_three_pairs_against_all_27_resamples() -> None:
    differences = [0.0, 1.0, 5.0]
    exact = np.array([np.mean(each) for each in product(differences, repeat=3)])
    found = paired(np.zeros(3), np.array(differences), resamples=20_000, seed=0)
    # The least resample, 0 0 0, has odds 1/27 = 3.7 %, so the 2.5 % end is that; likewise 5 5 5.
    assert (found.low, found.high) == (exact.min(), exact.max()) == (0.0, 5.0)
    means = resampled_means(np.array(differences), 20_000, np.random.default_rng(0))
    assert means.mean() == pytest.approx(2.0, abs=0.05)
    assert means.std() == pytest.approx(exact.std(), rel=0.05)


def test_pairing_is_what_makes_small_changes_visible() -> None:
    # Sequences differ by 1 nat, the change is 0.01 give or take 0.01. Half an interval is 1.96 * 0.01 / sqrt(200) =
    # 0.0014; without pairs it would be 1.96 * sqrt(2) / sqrt(200) = 0.2.
    random = np.random.default_rng(0)
    before = random.normal(3, 1, 200)
    found = paired(before, before + 0.01 + random.normal(0, 0.01, 200))
    assert (found.high - found.low) / 2 == pytest.approx(0.00139, rel=0.15)
    assert 0 < found.low < 0.01 < found.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 300 studies of 190 skewed differences each. At 95 % the number that miss is binomial(300, 0.05): above 26 or below
    # 5 has odds of 1 in 200. A percentile interval of a skewed mean misses a little more often, about 5.5 %.
    random = np.random.default_rng(7)
    missed = 0
    for study in range(300):
        truth, before = 0.5, random.normal(size=190)
        found = paired(before, before + random.exponential(truth, 190), resamples=400, seed=study)
        missed += not found.low <= truth <= found.high
    assert 5 <= missed <= 26, missed


def test_no_interval_from_one_sequence_or_few_resamples() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):  # its width would be nothing
        paired(np.zeros(1), np.ones(1))
    with pytest.raises(InvalidInput, match="bootstrap_resamples: is 99"):
        paired(np.zeros(5), np.ones(5), resamples=99)


def test_seeds_repeat() -> None:
    values = np.random.default_rng(0).normal(size=(2, 50))
    assert paired(*values, seed=3) == paired(*values, seed=3)
    assert paired(*values, seed=3) != paired(*values, seed=4)


@torch.no_grad()
def test_shards_of_whole_batches_measure_what_one_run_does(
    pair: tuple[PreTrainedModel, BalancedModel], windows: Windows
) -> None:
    whole = measure(*pair, windows, batch=2, cancel=CancelToken())
    shards = [measure(*pair, windows.part(*ends), batch=2, cancel=CancelToken()) for ends in ((0, 4), (4, 6))]
    merged = Measured.merge([Measured.from_json(shard.to_json()) for shard in shards])
    assert np.array_equal(merged.before.nats, whole.before.nats)
    assert np.array_equal(merged.after.nats, whole.after.nats)
    assert np.array_equal(merged.after.correct, whole.after.correct)
    assert {k: list(v) for k, v in merged.slot_tokens.items()} == {k: list(v) for k, v in whole.slot_tokens.items()}
    plan = pair[1].plan
    assert evaluate(merged, plan, seed=5).to_json() == evaluate(whole, plan, seed=5).to_json()


@torch.no_grad()
def test_counts_of_slots_add_up_to_tokens_times_k(
    pair: tuple[PreTrainedModel, BalancedModel], windows: Windows
) -> None:
    measured = measure(*pair, windows, batch=4, cancel=CancelToken())
    for layer in pair[1].plan.layers:
        slots, experts = measured.slot_tokens[layer.layer], measured.expert_tokens[layer.layer]
        assert sum(slots) == sum(experts) == 6 * 11 * 2  # sequences, predicted tokens, k
        for expert in range(layer.experts):
            assert experts[expert] == sum(
                tokens for tokens, owner in zip(slots, layer.slot_experts, strict=True) if owner == expert
            )


@torch.no_grad()
def test_both_sides_are_the_models_own_losses(pair: tuple[PreTrainedModel, BalancedModel], windows: Windows) -> None:
    original, after = pair
    measured = measure(original, after, windows, batch=4, cancel=CancelToken())
    targets = windows.ids[:, 1:, None]

    def losses(model: PreTrainedModel) -> np.ndarray:
        logits = model(windows.ids[:, :-1]).logits.double()
        return -logits.log_softmax(-1).gather(-1, targets)[..., 0].mean(dim=1).numpy()

    np.testing.assert_allclose(measured.before.loss, losses(original), atol=2e-6)
    with balanced(after.model, after.plan, after.packed):
        # One batch of six here, of four and two there: tokens take other replicas, and int4 is not exact.
        np.testing.assert_allclose(measured.after.loss, losses(after.model), atol=0.05)
    assert np.abs(measured.after.loss - measured.before.loss).max() > 1e-4
    evaluation = evaluate(measured, after.plan)
    assert evaluation.loss_nats.before == pytest.approx(losses(original).mean(), abs=2e-6)
    assert evaluation.loss_nats.low <= evaluation.loss_nats.change <= evaluation.loss_nats.high
    assert evaluation.sequences == 6
    assert evaluation.accuracy.before == pytest.approx(measured.before.correct.sum() / 66)


def measured_of(**slots: Any) -> Measured:
    prediction = Prediction(np.array([3.0, 4.0]), np.array([1.0, 0.0]), 11)
    return Measured(prediction, prediction, {2: [4, 6, 8, 6]}, {2: [4, 12, 8]}, **slots)


def test_documents_round_trip() -> None:
    measured = measured_of()
    back = Measured.from_json(measured.to_json())
    assert back.to_json() == measured.to_json()
    assert np.array_equal(back.after.nats, measured.after.nats)
    assert back.slot_tokens == {2: [4, 6, 8, 6]}
    evaluation = Evaluation(
        paired(np.array([1.0, 2.0]), np.array([1.5, 2.0])), paired(np.zeros(2), np.ones(2)), {2: Balance(2, 1, 1.5)}, 2
    )
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    assert json.loads(evaluation.to_json())["mean_ratio"] == evaluation.mean_ratio == 2.0


@pytest.mark.parametrize("kind", [Measured, Evaluation])
@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"3", b"\xff", b'{"before": 3, "layers": [1]}'])
def test_damaged_documents_are_data_loss(kind: Any, data: bytes) -> None:
    with pytest.raises(DataLoss, match="evaluate again"):
        kind.from_json(data)


def test_measurements_that_do_not_fit_each_other_are_data_loss() -> None:
    document = json.loads(measured_of().to_json())
    document["before"]["correct"].append(1.0)
    with pytest.raises(DataLoss):
        Measured.from_json(json.dumps(document).encode())


def test_shards_of_other_plans_or_lengths_do_not_merge() -> None:
    one = measured_of()
    for other in (
        Measured(one.before, one.after, {2: [1, 2, 3]}, {2: [1, 2, 3]}),
        Measured(one.before, one.after, {3: [4, 6, 8, 6]}, {3: [4, 12, 8]}),
        Measured(Prediction(one.before.nats, one.before.correct, 12), one.after, one.slot_tokens, one.expert_tokens),
    ):
        with pytest.raises(InvalidInput, match="shards"):
            Measured.merge([one, other])
    with pytest.raises(InvalidInput):
        Measured.merge([])
