"""Plans against figures worked out by hand, and against what every plan must hold to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import FailedPrecondition, InvalidInput
from assay_moe_router.core.importance import Importance, LayerScores, Metric
from assay_moe_router.core.layers import MoeLayer
from assay_moe_router.core.packed_experts import expert_bytes
from assay_moe_router.core.plan import OWN, BalancePlan, LayerPlan
from assay_moe_router.core.replicate_quantize import ExpertBytes, Policy, plan_replicate_quantize
from assay_moe_router.core.statistics import LayerRouting, RoutingStatistics

SIZES = ExpertBytes(100, {8: 52, 4: 30})

# (intermediate, hidden) of one expert, and what a pair of int8 experts takes above one in bf16: 8 bytes, two float32
# scales, for each of its 2 * intermediate + hidden rows. The first three are the figures of the method's report.
SHAPES = {
    "DeepSeek-V3": (2048, 7168, 90_112),
    "Mixtral-8x7B": (14336, 4096, 262_144),
    "DeepSeek-V2-Lite": (1408, 2048, 38_912),
    "Qwen3-30B-A3B": (768, 2048, 28_672),
    "OLMoE-1B-7B": (1024, 2048, 32_768),
}


def real_shape(name: str) -> MoeLayer:
    inner, hidden, _ = SHAPES[name]
    return MoeLayer(
        layer=0, experts=128, top_k=2, shared_experts=0, bytes_per_expert=2 * 3 * inner * hidden, dtype="bfloat16",
        capacity=0, layout="fused", transposed=False, interleaved=False, biased=False,
        matrix_names=("gate_up_proj", "down_proj"), matrices=((2 * inner, hidden), (hidden, inner)), vector_values=0,
    )  # fmt: skip


def statistics_of(*loads: Sequence[int]) -> RoutingStatistics:
    """One layer for each list; one sequence."""
    layers = []
    for index, tokens in enumerate(loads):
        choices = np.repeat(np.arange(len(tokens), dtype=np.int32), tokens)[None, :, None]
        zeros = np.zeros(len(tokens))
        layers.append(
            LayerRouting(
                index, np.array([tokens], dtype=np.int64), choices, zeros, zeros.astype(np.int64), masked_tokens=0
            )
        )
    return RoutingStatistics(tuple(layers))


def importance_of(*scores: Sequence[float]) -> Importance:
    return Importance(
        Metric.LEAVE_ONE_OUT_LOSS,
        tuple(
            LayerScores(index, tuple(range(len(each))), np.array(each, dtype=np.float64))
            for index, each in enumerate(scores)
        ),
    )


def planned(loads: Sequence[int], scores: Sequence[float] | None = None, **options: Any) -> LayerPlan:
    return plan_of([loads], [scores or list(range(len(loads)))], **options).layers[0]


def plan_of(loads: Sequence[Sequence[int]], scores: Sequence[Sequence[float]], **options: Any) -> BalancePlan:
    sizes = options.pop("sizes", SIZES)
    options = {"policy": Policy.TARGET_LIS, **options}
    return plan_replicate_quantize(
        "model", statistics_of(*loads), importance_of(*scores), dict.fromkeys(range(len(loads)), sizes), **options
    )


def test_a_plan_by_hand() -> None:
    # Fair share 25. The busiest has 50: LIS 2. A replica leaves 30 leading: 1.2. It takes 52 bytes; an expert that goes
    # from 100 to 52 frees 48, so two pay, those that matter least among the experts not replicated: 2 and 1.
    layer = planned([50, 30, 12, 8], [9.0, 2.0, 1.0, 3.0], target_load_imbalance=1.2)
    assert layer.slot_experts == (0, 1, 2, 3, 0)
    assert layer.slot_bits == (OWN, 8, 8, OWN, 8)
    assert layer.slot_bytes == (100, 52, 52, 100, 52)
    assert (layer.bytes_before, layer.bytes_after) == (400, 356)
    balance = layer.balance(layer.expert_tokens)
    assert (balance.before, balance.lis_logical, balance.lis_slots) == (2.0, 1.2, 1.5)
    assert layer.notes == ()


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=12).filter(any), st.integers(0, 2**32))
def test_one_replica_gains_exactly_the_gap_to_the_second(loads: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=len(loads)).tolist()
    layer = planned(loads, scores, policy=Policy.PAPER)
    first, second = sorted(loads, reverse=True)[:2]
    assert layer.replicas == 1
    assert layer.slot_experts[-1] == loads.index(first)
    gain = Fraction(first) / max(Fraction(second), Fraction(first, 2))
    assert 1 <= gain <= 2
    assert layer.balance(loads).ratio == pytest.approx(float(gain), rel=1e-12)


def test_one_replica_gains_nothing_on_a_tie() -> None:
    assert planned([40, 40, 10, 10], policy=Policy.PAPER).balance([40, 40, 10, 10]).ratio == 1.0


@pytest.mark.parametrize("name", SHAPES)
def test_a_pair_of_int8_experts_overshoots_one_in_bf16_by_its_scales(name: str) -> None:
    sizes = expert_bytes(real_shape(name))
    assert 2 * sizes.at(8) - sizes.own == SHAPES[name][2]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("replicas", [1, 2, 8, 32])
def test_int8_replicas_need_one_int8_expert_more_than_there_are_of_them(name: str, replicas: int) -> None:
    # `replicas` experts carry 2, the others 1: each of the former needs one replica until 1 is the most.
    loads = [2] * replicas + [1] * (128 - replicas)
    target = 128 / sum(loads) * 1.0001
    layer = planned(loads, sizes=expert_bytes(real_shape(name)), target_load_imbalance=target)
    assert sorted(layer.slot_experts[128:]) == list(range(replicas))
    assert layer.quantized_experts == replicas + 1
    assert layer.bytes_after <= layer.bytes_before
    # One payer fewer would not do.
    sizes = expert_bytes(real_shape(name))
    assert layer.bytes_after + sizes.own - sizes.at(8) > layer.bytes_before


@pytest.mark.parametrize("name", SHAPES)
def test_int4_replicas_are_paid_by_as_many_int4_experts(name: str) -> None:
    layer = planned([2] * 8 + [1] * 120, sizes=expert_bytes(real_shape(name)), bits=(4,), target_load_imbalance=0.95)
    assert layer.replicas == 8
    assert layer.quantized_experts <= 8
    assert layer.bytes_after <= layer.bytes_before


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=10).filter(any),
    st.fractions(Fraction(1, 2), 3, max_denominator=20),
)
def test_target_takes_as_few_replicas_as_can_reach_it(loads: list[int], target: Fraction) -> None:
    # An expert with n tokens needs c slots with n / c <= target * sum / m.
    share = target * sum(loads) / len(loads)
    needed = sum(max(1, ceil(load / share)) - 1 for load in loads)
    layer = planned(loads, exact=True, target_load_imbalance=float(target) * (1 + 1e-12))
    if needed <= 3 * len(loads):
        assert layer.replicas == needed
        assert layer.notes == ()
    else:
        assert layer.replicas <= 3 * len(loads)
        assert "is not reached" in layer.notes[0]


shapes = st.integers(1, 10).flatmap(
    lambda m: st.tuples(
        st.lists(st.integers(0, 100), min_size=m, max_size=m),
        st.lists(st.integers(-3, 3).map(float), min_size=m, max_size=m),
    )
)


@given(
    st.lists(shapes, min_size=1, max_size=3),
    st.sampled_from(Policy),
    st.sampled_from([(8,), (4,), (8, 4), (4, 8)]),
    st.floats(0.2, 2.0),
    st.floats(0.5, 3.0),
    st.sampled_from([SIZES, ExpertBytes(1000, {8: 503, 4: 260}), ExpertBytes(64, {8: 80, 4: 48})]),
)
@settings(max_examples=300)
def test_every_plan_keeps_its_promises(
    layers: list[tuple[list[int], list[float]]],
    policy: Policy,
    bits: tuple[int, ...],
    factor: float,
    target: float,
    sizes: ExpertBytes,
) -> None:
    loads, scores = [layer[0] for layer in layers], [layer[1] for layer in layers]
    own = sum(len(each) for each in loads) * sizes.own
    budget = max(1, int(own * factor))

    def make(budget: int) -> BalancePlan:
        return plan_of(
            loads, scores, policy=policy, bits=bits, budget_bytes=budget, target_load_imbalance=target, sizes=sizes
        )

    refused = None
    try:
        plan = make(budget)
    except FailedPrecondition as error:
        refused = error
    if refused:
        # What is said to be short is short to the byte.
        enough = int(refused.metadata["least_bytes"])
        assert enough - budget == int(refused.metadata["bytes_short"]) > 0
        assert make(enough).bytes_after <= enough
        with pytest.raises(FailedPrecondition):
            make(enough - 1)
        return
    assert plan.bytes_after <= budget
    assert plan.bytes_before == own
    assert plan == make(budget)  # ties and all
    assert BalancePlan.from_json(plan.to_json()) == plan
    for layer, tokens, each in zip(plan.layers, loads, scores, strict=True):
        held = set(layer.slot_experts[layer.experts :]) | ({tokens.index(max(tokens))} if any(tokens) else set())
        own_bits = layer.slot_bits[: layer.experts]
        assert all(own_bits[expert] == OWN for expert in held)
        assert len(set(layer.slot_bits[layer.experts :])) <= 1
        # Widths only shrink from the most important payer to the least.
        payers = sorted((e for e in range(layer.experts) if e not in held), key=lambda e: (each[e], tokens[e], e))
        widths = [own_bits[expert] or 16 for expert in payers]
        assert widths == sorted(widths)
        assert layer.slot_bytes == tuple(map(sizes.at, layer.slot_bits))
        # Only as many as must: the most important of those that pay could not have been let off a step.
        share = budget * layer.bytes_before // own
        steps = [OWN]
        steps += [width for width in sorted(bits, reverse=True) if sizes.at(width) < sizes.own]
        paying = [expert for expert in payers if own_bits[expert] != OWN]
        if paying:
            last = own_bits[paying[-1]]
            assert layer.bytes_after - sizes.at(last) + sizes.at(steps[steps.index(last) - 1]) > share
        if not any(tokens):
            assert layer.replicas == 0
            assert "no token reached this layer" in layer.notes[0]


def test_wider_bits_come_first_and_replicas_are_narrowed_last() -> None:
    # Six experts of 100. Replica at 8 bits: 52 bytes to free; two payers at 8 bits free 96.
    scores = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    loads = [60, 10, 10, 10, 5, 5]
    roomy = planned(loads, scores, policy=Policy.PAPER, bits=(4, 8))
    assert roomy.slot_bits == (OWN, 8, 8, OWN, OWN, OWN, 8)
    # 600 - 212 = 388 of budget: 264 to free of five payers. All at 8 free 240; the two least important go to 4 (22 more
    # each); the replica stays at 8.
    tight = planned(loads, scores, policy=Policy.PAPER, bits=(4, 8), budget_bytes=388)
    assert tight.slot_bits == (OWN, 4, 4, 8, 8, 8, 8)
    assert tight.bytes_after == 100 + 2 * 30 + 3 * 52 + 52
    # 295: with the replica at 8, even all payers at 4 take 100 + 5 * 30 + 52 = 302; so it is narrowed too, to 280.
    least = planned(loads, scores, policy=Policy.PAPER, bits=(4, 8), budget_bytes=295)
    assert least.slot_bits == (OWN, 4, 4, 4, 4, 4, 4)


def test_bytes_fills_the_budget_and_no_replica_more() -> None:
    # Replicas go to 0 (50), 1 (30 above 25), 0 again (25 above 15); each takes 52. The other four free 48 each: 192 pay
    # for three (156) and not for four (208).
    layer = planned([50, 30, 8, 6, 4, 2], policy=Policy.BYTES)
    assert layer.slot_experts[6:] == (0, 1, 0)
    assert layer.quantized_experts == 4
    assert layer.notes == ()


def test_a_budget_above_the_models_own_buys_replicas_without_payers() -> None:
    assert planned([50, 30, 12, 8], policy=Policy.PAPER, budget_bytes=452).slot_bits == (OWN, OWN, OWN, OWN, 8)
    # 156 more than its own buy three replicas; the two experts without one free 96, which pays for the fourth.
    layer = planned([50, 30, 12, 8], policy=Policy.BYTES, budget_bytes=400 + 3 * 52)
    assert layer.slot_experts[4:] == (0, 1, 0, 0)
    assert layer.slot_bits[:4] == (OWN, OWN, 8, 8)


def test_a_budget_below_the_models_own_is_paid_before_any_replica() -> None:
    scores = [0.0, 2.0, 1.0, 3.0]
    # 100 + 4 * 52 = 308: the busiest never pays, however unimportant it is.
    assert planned([50, 30, 12, 8], scores, policy=Policy.PAPER, budget_bytes=310).slot_bits == (OWN, 8, 8, 8, 8)
    none = planned([50, 30, 12, 8], scores, policy=Policy.PAPER, budget_bytes=300)
    assert none.slot_bits == (OWN, 8, 8, 8)
    assert none.notes == ("replica 1 cannot be paid for within 300 bytes",)


def test_an_unpayable_budget_says_how_many_bytes_are_short() -> None:
    # The busiest stays: 100 + 3 * 52 = 256 a layer at the least, 512 for two.
    with pytest.raises(FailedPrecondition, match="12 short") as caught:
        plan_of([[50, 30, 12, 8]] * 2, [[1, 2, 3, 4]] * 2, policy=Policy.PAPER, budget_bytes=500)
    assert caught.value.metadata == {"bytes_short": "12", "least_bytes": "512"}
    assert caught.value.reason == "BUDGET_UNPAYABLE"
    assert plan_of([[50, 30, 12, 8]] * 2, [[1, 2, 3, 4]] * 2, policy=Policy.PAPER, budget_bytes=512).bytes_after == 512


def test_exact_plans_quantize_nothing_and_may_grow() -> None:
    layer = planned([50, 30, 12, 8], exact=True, target_load_imbalance=1.0)
    assert set(layer.slot_bits) == {OWN}
    assert layer.bytes_after == 100 * len(layer.slot_experts) > layer.bytes_before
    assert layer.balance([50, 30, 12, 8]).lis_logical <= 1.0
    bounded = planned([50, 30, 12, 8], exact=True, policy=Policy.BYTES, budget_bytes=650)
    assert (bounded.replicas, bounded.bytes_after) == (2, 600)
    unpaid = planned([50, 30, 12, 8], exact=True, policy=Policy.PAPER, budget_bytes=400)
    assert (unpaid.replicas, unpaid.notes) == (0, ("replica 1 cannot be paid for within 400 bytes",))
    with pytest.raises(InvalidInput, match="budget_bytes"):
        planned([50, 30, 12, 8], exact=True, policy=Policy.BYTES)


def test_replicas_that_bring_the_target_no_closer_are_not_bought() -> None:
    # Two tie: one replica gains nothing, and two cannot be paid for by the one expert that is left.
    layer = planned([40, 40, 5], target_load_imbalance=1.0)
    assert layer.slot_bits == (OWN, OWN, OWN)
    assert layer.notes == ("the target 1 is not reached, 1.412 is; replica 2 cannot be paid for within 300 bytes",)
    # With four to pay, two replicas halve both.
    better = planned([40, 40, 5, 5, 5, 5], target_load_imbalance=1.3)
    assert better.slot_experts[6:] == (0, 1)
    assert better.balance([40, 40, 5, 5, 5, 5]).lis_logical == pytest.approx(1.2)


def test_a_balanced_layer_is_left_alone() -> None:
    layer = planned([10, 10, 10, 10])
    assert (layer.replicas, layer.quantized_experts, layer.bytes_after) == (0, 0, layer.bytes_before)
    assert layer.notes == ()


def test_an_idle_layer_is_left_alone_with_a_note() -> None:
    plan = plan_of([[0, 0, 0, 0], [9, 1, 1, 1]], [[1, 2, 3, 4]] * 2)
    assert plan.layers[0].slot_bits == (OWN,) * 4
    assert plan.layers[0].notes == ("no token reached this layer; it gets no replica",)
    assert plan.layers[1].replicas > 0


def test_experts_that_were_never_hit_may_pay_and_never_get_a_replica() -> None:
    layer = planned([90, 10, 0, 0], [5.0, 4.0, 0.0, 0.0], policy=Policy.PAPER)
    assert layer.slot_experts[4:] == (0,)
    assert layer.slot_bits == (OWN, OWN, 8, 8, 8)


def test_ties_fall_to_the_less_busy_then_the_lower_id() -> None:
    layer = planned([50, 50, 7, 3, 3], [1.0] * 5, policy=Policy.PAPER)
    assert layer.slot_experts[5:] == (0,)
    assert layer.slot_bits == (OWN, OWN, OWN, 8, 8, 8)


def test_layers_pay_for_their_own_replicas() -> None:
    # The first layer could pay for more; the second has too few experts to pay for any.
    plan = plan_of([[50, 10, 10, 10], [90, 10]], [[1, 2, 3, 4], [1, 2]], policy=Policy.PAPER)
    assert [layer.replicas for layer in plan.layers] == [1, 0]
    assert all(layer.bytes_after <= layer.bytes_before for layer in plan.layers)


def test_a_model_of_58_layers_of_256_experts() -> None:
    random = np.random.default_rng(0)
    zipf = 1 / np.arange(1, 257) ** 0.8
    loads = [random.permutation(random.multinomial(100_000, zipf / zipf.sum())).tolist() for _ in range(58)]
    scores = random.normal(size=(58, 256)).tolist()
    plan = plan_of(loads, scores, sizes=expert_bytes(real_shape("DeepSeek-V3")))
    assert plan.bytes_after <= plan.bytes_before
    for layer, tokens in zip(plan.layers, loads, strict=True):
        share = Fraction(12, 10) * sum(tokens) / 256
        assert layer.replicas == sum(max(1, ceil(load / share)) - 1 for load in tokens)
        assert layer.quantized_experts == layer.replicas + 1
        assert layer.balance(tokens).lis_logical <= 1.2


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"bits": (3,)}, "bits"),
        ({"target_load_imbalance": 0.0}, "target_load_imbalance"),
        ({"target_load_imbalance": float("nan")}, "target_load_imbalance"),
        ({"target_load_imbalance": float("inf")}, "target_load_imbalance"),
        ({"budget_bytes": -1}, "budget_bytes"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        planned([3, 1], **options)
    assert caught.value.violations[0].field == field


def test_scores_must_be_of_all_experts_of_all_layers() -> None:
    with pytest.raises(InvalidInput, match="scores 3 of the 4 experts of layer 0"):
        plan_of([[1, 2, 3, 4]], [[1, 2, 3]])
    with pytest.raises(InvalidInput, match="nothing of layer 1"):
        plan_of([[1, 2], [3, 4]], [[1, 2]])
    with pytest.raises(InvalidInput, match=r"statistics.layers\[0\]: is layer 0, which the model does not have"):
        plan_replicate_quantize("m", statistics_of([1, 2]), importance_of([1, 2]), {5: SIZES}, policy=Policy.PAPER)


def test_biases_of_a_wider_type_are_counted_as_they_are() -> None:
    # 10 x 6 and 6 x 5 in bf16, 16 bias values in float32: 180 + 64 bytes; int8 keeps the 64 and adds scales of 16 rows.
    layer = MoeLayer(
        layer=0, experts=2, top_k=1, shared_experts=0, bytes_per_expert=180 + 64, dtype="bfloat16", capacity=0,
        layout="fused", transposed=True, interleaved=True, biased=True, matrix_names=("gate_up_proj", "down_proj"),
        matrices=((10, 6), (6, 5)), vector_values=16,
    )  # fmt: skip
    assert expert_bytes(layer).at(8) == 60 + 30 + 4 * 16 + 64
