"""A plan says what its slots hold, scores them, and survives being written down."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay_moe_router.core.plan import OWN, BalancePlan, LayerPlan


def layer_plan(**changes: Any) -> LayerPlan:
    fields: dict[str, Any] = {
        "layer": 3,
        "experts": 3,
        "slot_experts": (0, 1, 2, 1),
        "slot_bits": (8, OWN, 8, 8),
        "slot_bytes": (60, 100, 60, 60),
        "bytes_before": 300,
        "expert_tokens": (4, 12, 8),
        "notes": ("a note",),
    }
    return LayerPlan(**{**fields, **changes})


def plan(*layers: LayerPlan) -> BalancePlan:
    return BalancePlan("sha256:abc", "target-lis", False, (8,), 1.2, 300, layers or (layer_plan(),), ("all of it",))


def test_loads_spread_evenly_and_are_scored_both_ways() -> None:
    layer = layer_plan()
    assert layer.slot_loads((4, 12, 8)).tolist() == [4, 6, 8, 6]
    balance = layer.balance((4, 12, 8))
    # Before 12 / (24 / 3) = 1.5. After, the busiest slot has 8: 8 / (24 / 3) = 1, and 8 / (24 / 4) = 4/3 by slots.
    assert (balance.before, balance.lis_logical, balance.lis_slots) == (1.5, 1.0, pytest.approx(4 / 3))
    assert balance.ratio == 1.5
    assert (layer.replicas, layer.quantized_experts, layer.bytes_after) == (1, 2, 280)


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3).filter(any))
def test_no_token_is_lost_between_slots(loads: list[int]) -> None:
    layer = layer_plan()
    slots = layer.slot_loads(loads)
    assert slots.sum() == pytest.approx(sum(loads))
    gathered = np.zeros(3)
    np.add.at(gathered, np.array(layer.slot_experts), slots)
    np.testing.assert_allclose(gathered, loads)
    # The same loads either way: only the fair share differs, by slots per expert.
    balance = layer.balance(loads)
    assert balance.lis_slots == pytest.approx(balance.lis_logical * 4 / 3)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slot_experts": (1, 0, 2, 1)}, "slot_experts"),
        ({"slot_experts": (0, 1, 2, 3)}, "slot_experts"),
        ({"slot_experts": (0, 1, 2, -1)}, "slot_experts"),
        ({"slot_bits": (8, OWN, 8)}, "slot_bits"),
        ({"slot_bytes": (60, 100, 60)}, "slot_bits"),
        ({"slot_bits": (8, OWN, 3, 8)}, "slot_bits[2]"),
        ({"slot_bytes": (60, -100, 60, 60)}, "slot_bytes[1]"),
        ({"expert_tokens": (4, 12)}, "expert_tokens"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        layer_plan(**changes)
    assert caught.value.violations[0].field == f"layers[3].{field}"


def test_json_round_trip() -> None:
    whole = plan(layer_plan(), layer_plan(layer=7, notes=()))
    assert BalancePlan.from_json(whole.to_json()) == whole
    assert BalancePlan.from_json(whole.to_json()).to_json() == whole.to_json()
    assert (whole.bytes_before, whole.bytes_after) == (600, 560)


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("layers"),
        lambda document: document["layers"][0].pop("slot_bits"),
        lambda document: document["layers"][0].update(surplus=1),
        lambda document: document["layers"].append("a layer"),
        lambda document: document.update(layers=3),
        lambda document: document.update(bits=8),
    ],
)
def test_a_damaged_document_is_data_loss(damage: Any) -> None:
    document = json.loads(plan().to_json())
    damage(document)
    with pytest.raises(DataLoss, match="plan again"):
        BalancePlan.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff\xfe", plan().to_json()[:-2]])
def test_what_is_no_document_is_data_loss(data: bytes) -> None:
    with pytest.raises(DataLoss):
        BalancePlan.from_json(data)


def test_a_layer_that_is_not_planned_means_another_model() -> None:
    with pytest.raises(FailedPrecondition, match="nothing of layer 0") as caught:
        plan().layer(0)
    assert caught.value.reason == "PLAN_OF_ANOTHER_MODEL"
