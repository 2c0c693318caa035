"""Ruining experts in an order: where the curve begins and ends, and that nothing stays ruined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled
from assay.models.windows import Windows
from assay_moe_router.core.damage import DamageMeter, order_of
from assay_moe_router.core.quantize import rounded_to

Build = Callable[[str], PreTrainedModel]
NAMES = ["mixtral", "gpt_oss", "deepseek_v3", "switch"]


def state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_curves_meet_at_both_ends_and_leave_the_weights_as_they_were(build: Build, windows: Windows, name: str) -> None:
    model = build(name)
    before = state(model)
    meter = DamageMeter(model, windows, batch=3, cancel=CancelToken())
    curve = meter.curve(meter.random_order(0))
    assert curve.least_first.shape == curve.most_first.shape == (9, 6)
    assert (curve.least_first[0] == 0).all()
    assert (curve.most_first[0] == 0).all()
    assert np.array_equal(curve.least_first[8], curve.most_first[8])  # all are ruined, whoever came first
    assert np.abs(curve.least_first[8]).max() > 1e-3
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_an_order_and_its_reverse_have_opposite_areas(build: Build, windows: Windows) -> None:
    meter = DamageMeter(build("mixtral"), windows, batch=6, cancel=CancelToken())
    order = meter.random_order(1)
    one, other = meter.curve(order), meter.curve({layer: tuple(reversed(ids)) for layer, ids in order.items()})
    assert np.array_equal(one.area, -other.area)
    assert np.abs(one.area).max() > 1e-4
    # By hand: the mean over 0 to 8 ruined experts of the gap between the curves.
    assert one.area == pytest.approx((one.most_first - one.least_first).sum(axis=0) / 9)


@torch.no_grad()
def test_a_ruined_expert_is_the_expert_at_two_bits(build: Build, windows: Windows) -> None:
    for name in ("mixtral", "gpt_oss"):
        model = build(name)
        meter = DamageMeter(model, windows, batch=6, cancel=CancelToken())
        order = dict.fromkeys(range(3), (3, 0, 1, 2, 4, 5, 6, 7))
        rise = meter.curve(order).least_first[1]
        whole = -model(windows.ids[:, :-1]).logits.log_softmax(-1).gather(-1, windows.ids[:, 1:, None])[..., 0]
        for layer in model.model.layers:
            experts = layer.mlp.experts
            for matrix in (experts.gate_up_proj[3], experts.down_proj[3]):
                # Scales run along inputs: rows of [out, in], columns of what GPT-OSS stores.
                ruined = rounded_to(matrix.T, 2).T if name == "gpt_oss" else rounded_to(matrix, 2)
                assert len(torch.unique(ruined[0] if name == "mixtral" else ruined[:, 0])) <= 3
                matrix.copy_(ruined)
        ruined = -model(windows.ids[:, :-1]).logits.log_softmax(-1).gather(-1, windows.ids[:, 1:, None])[..., 0]
        np.testing.assert_allclose(rise, (ruined - whole).double().mean(dim=1).numpy(), atol=2e-6)


def test_what_was_measured_once_is_not_measured_again(build: Build, windows: Windows) -> None:
    cancel = CancelToken()
    meter = DamageMeter(build("mixtral"), windows, batch=6, cancel=cancel)
    order = meter.random_order(2)
    first = meter.curve(order)
    cancel.cancel()  # any further pass would raise
    assert np.array_equal(meter.curve(order).area, first.area)
    with pytest.raises(Cancelled):
        meter.curve(meter.random_order(3))


def test_cancelled_work_leaves_the_weights_as_they_were(build: Build, windows: Windows) -> None:
    cancel, model = CancelToken(), build("deepseek_v3")
    before = state(model)
    meter = DamageMeter(model, windows, batch=6, cancel=cancel)
    cancel.cancel()
    with pytest.raises(Cancelled):
        meter.curve(meter.random_order(0))
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_orders_put_the_least_important_first_and_break_ties_by_id() -> None:
    assert order_of({4: np.array([0.5, -1.0, 0.5, 0.0])}) == {4: (1, 3, 0, 2)}
