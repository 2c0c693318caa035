"""A model under a plan: exact plans change no bit, quantized ones are what dequantizing by hand gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay.models.predict import predict
from assay_moe_router.core.balanced import balanced
from assay_moe_router.core.layers import describe
from assay_moe_router.core.packed_experts import PackedExperts, expert_bytes, pack, packed_bytes
from assay_moe_router.core.plan import OWN, BalancePlan
from assay_moe_router.core.replicate_quantize import Policy
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]
PlanOf = Callable[..., BalancePlan]
NAMES = ["mixtral", "olmoe", "qwen3_moe", "deepseek_v3", "gpt_oss", "switch"]


def packed_of(model: PreTrainedModel, plan: BalancePlan, dtype: torch.dtype) -> dict[int, PackedExperts]:
    layout = describe(model)
    return {
        site.layer: PackedExperts(
            plan.layer(site.layer), pack(site, plan.layer(site.layer)), layout.layer(site.layer), dtype
        )
        for site in find_sites(model)
    }


class Choices:
    """What each layer's experts are asked for while it listens: ids and weights, in order of the passes."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.seen: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for site in find_sites(model):
            site.module.register_forward_pre_hook(self._noting(site.layer), with_kwargs=True)

    def _noting(self, layer: int) -> Any:
        def note(_: object, arguments: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            _, index, weight = (*arguments, *named.values())
            self.seen.setdefault(layer, []).append((index.clone(), weight.clone()))

        return note


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_an_exact_plan_changes_no_bit_of_logits_and_choices(
    build: Build, plan_of: PlanOf, tokens: Tensor, name: str
) -> None:
    model = build(name)
    plan = plan_of(model, tokens, exact=True, target_load_imbalance=0.7)
    assert sum(layer.replicas for layer in plan.layers) >= 4
    choices = Choices(model)
    before = predict(model, tokens)[0].logits
    with balanced(model, plan, packed_of(model, plan, torch.float32)) as counts:
        after = predict(model, tokens)[0].logits
    assert torch.equal(after, before)
    for seen in choices.seen.values():
        (index, weight), (planned_index, planned_weight) = seen
        assert torch.equal(index, planned_index)
        assert torch.equal(weight, planned_weight)
    for layer in plan.layers:
        # Not the original alone: every slot of a replicated expert got its tokens.
        slots = counts.slots[layer.layer]
        replicated = set(layer.slot_experts[layer.experts :])
        assert all(slots[slot] > 0 for slot, owner in enumerate(layer.slot_experts) if owner in replicated)
    assert torch.equal(predict(model, tokens)[0].logits, before)  # the block's end restores the model


def by_hand(tensors: dict[str, Tensor], layer: int, slot: int, name: str, bits: int, columns: int) -> np.ndarray:
    """A slot's matrix [out, in] from its packed bytes, number by number."""
    key = f"layers.{layer}.slots.{slot}.{name}"
    if bits == OWN:
        return tensors[key].double().numpy()
    values, scales = tensors[f"{key}.values"].numpy(), tensors[f"{key}.scales"].float().numpy()
    matrix = np.empty((len(values), columns), dtype=np.float32)
    for row in range(len(values)):
        for column in range(columns):
            if bits == 8:
                matrix[row, column] = np.float32(values[row, column]) * scales[row, 0]
            else:
                nibble = int(values[row, column // 2]) >> (4 * (column % 2)) & 15
                group = min(128, columns + columns % 2)
                matrix[row, column] = np.float32(nibble - 16 * (nibble > 7)) * scales[row, column // group]
    return matrix.astype(np.float64)


def expert_by_hand(
    kind: str, first: np.ndarray, last: np.ndarray, biases: list[np.ndarray], x: np.ndarray
) -> np.ndarray:
    inner = first @ x
    if kind == "switch_transformers":
        return last @ np.maximum(inner, 0)
    if kind == "gpt_oss":
        inner = inner + biases[0]
        gate, up = np.minimum(inner[0::2], 7.0), np.clip(inner[1::2], -7.0, 7.0)
        return last @ ((up + 1) * gate / (1 + np.exp(-1.702 * gate))) + biases[1]
    gate, up = np.split(inner, 2)
    return last @ (gate / (1 + np.exp(-gate)) * up)


@torch.no_grad()
def with_experts_by_hand(model: PreTrainedModel, plan: BalancePlan, ids: Tensor) -> Tensor:
    """Logits of `model` (float64) with every token sent to a slot by a loop and computed from its packed bytes."""
    kind = model.config.model_type
    for site in find_sites(model):
        layer = plan.layer(site.layer)
        stored = pack(site, layer)
        names = site.matrices()
        shapes = [site.weights(0)[name].shape for name in names]
        slots = []
        for slot, bits in enumerate(layer.slot_bits):
            # GPT-OSS stores unquantized matrices [in, out].
            transposed = kind == "gpt_oss" and bits == OWN
            columns = [shape[0] if kind == "gpt_oss" else shape[1] for shape in shapes]
            first, last = (
                by_hand(stored, site.layer, slot, name, bits, width) for name, width in zip(names, columns, strict=True)
            )
            prefix = f"layers.{site.layer}.slots.{slot}."
            biases = [
                value.numpy() for key, value in stored.items() if key.startswith(prefix) and key.endswith("_bias")
            ]
            slots.append((first.T, last.T, biases) if transposed else (first, last, biases))

        def forward(hidden: Tensor, index: Tensor, weight: Tensor, layer: Any = layer, slots: Any = slots) -> Tensor:
            if kind == "switch_transformers":
                index = torch.where(index.any(-1), index.argmax(-1), layer.experts)
            output, arrived = np.zeros(hidden.shape), [0] * layer.experts
            for token, experts in enumerate(index.tolist()):
                for position, expert in enumerate(experts):
                    if expert >= layer.experts:
                        continue
                    mine = [slot for slot, owner in enumerate(layer.slot_experts) if owner == expert]
                    slot = mine[arrived[expert] % len(mine)]
                    arrived[expert] += 1
                    result = expert_by_hand(kind, *slots[slot], hidden[token].numpy())
                    output[token] += result * float(weight[token, position])
            return torch.from_numpy(output)

        site.module.forward = forward
    logits: Tensor = predict(model, ids)[0].logits
    for site in find_sites(model):
        del site.module.forward
    return logits


@pytest.mark.parametrize("bits", [(8,), (4,)])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_quantized_plan_computes_what_its_packed_bytes_say(
    build: Build, plan_of: PlanOf, tokens: Tensor, name: str, bits: tuple[int, ...]
) -> None:
    model, ids = build(name).double(), tokens[:3]
    plan = plan_of(model, tokens, policy=Policy.BYTES, bits=bits)
    assert all(layer.replicas and layer.quantized_experts for layer in plan.layers)
    original = predict(model, ids)[0].logits
    expected = with_experts_by_hand(model, plan, ids)
    choices = Choices(model)
    predict(model, ids)
    with balanced(model, plan, packed_of(model, plan, torch.float64)):
        found = predict(model, ids)[0].logits
    # Both in float64 (routers and norms in float32); quantization itself moves logits by thousands of times that.
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-6)
    assert (found - original).abs().max() > 1e-3
    # Before the first layer of experts nothing is quantized: its router chooses as ever.
    (index, weight), (planned_index, planned_weight) = choices.seen[min(choices.seen)]
    assert torch.equal(index, planned_index)
    assert torch.equal(weight, planned_weight)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_slots_add_up_to_what_the_experts_were_sent(build: Build, plan_of: PlanOf, tokens: Tensor, name: str) -> None:
    model = build(name)
    plan = plan_of(model, tokens, exact=True)
    with observe(model) as observer:
        predict(model, tokens[:4])
        predict(model, tokens[4:])
    with balanced(model, plan, packed_of(model, plan, torch.float32)) as counts:
        predict(model, tokens[:4])
        predict(model, tokens[4:])
    for layer in plan.layers:
        routing = observer.statistics().layer(layer.layer)
        # Switch's drops are chosen and not computed.
        assert counts.experts(layer.layer).tolist() == (routing.loads - routing.dropped).tolist()
        assert counts.slots[layer.layer].dtype == np.int64
        for expert in range(layer.experts):
            own = [counts.slots[layer.layer][slot] for slot, e in enumerate(layer.slot_experts) if e == expert]
            assert max(own) - min(own) <= 2  # one for each of two passes


@torch.no_grad()
def test_padding_is_not_counted_and_moves_no_token(build: Build, plan_of: PlanOf, tokens: Tensor) -> None:
    model = build("mixtral")
    plan = plan_of(model, tokens, policy=Policy.BYTES)
    packed = packed_of(model, plan, torch.float32)
    ids, mask = tokens[:2].clone(), torch.ones_like(tokens[:2])
    ids[0, :4], mask[0, :4] = 0, 0
    runs = []
    for padding in (0, 7, 11):  # another token, other experts for it
        ids[0, :4] = padding
        with balanced(model, plan, packed) as counts:
            runs.append((model(ids, attention_mask=mask).logits[mask.bool()], counts.slots))
    for layer in plan.layers:
        assert runs[0][1][layer.layer].sum() == 2 * (2 * 12 - 4)  # k, real tokens
    for logits, slots in runs[1:]:
        assert all(np.array_equal(slots[layer], runs[0][1][layer]) for layer in slots)
        # A token that moved to or from a quantized replica would differ by 1e-4 and more.
        assert (logits - runs[0][0]).abs().max() < 1e-6


@torch.no_grad()
def test_the_same_batch_takes_the_same_slots(build: Build, plan_of: PlanOf, tokens: Tensor) -> None:
    model = build("deepseek_v3")
    plan = plan_of(model, tokens, policy=Policy.BYTES)
    packed = packed_of(model, plan, torch.float32)
    runs = []
    for _ in range(2):
        with balanced(model, plan, packed) as counts:
            runs.append((predict(model, tokens)[0].logits, counts.slots))
    assert torch.equal(runs[0][0], runs[1][0])
    assert all(np.array_equal(runs[0][1][layer], runs[1][1][layer]) for layer in runs[0][1])


@torch.no_grad()
def test_a_plan_of_another_model_leaves_this_one_as_it_was(build: Build, plan_of: PlanOf, tokens: Tensor) -> None:
    model, other = build("mixtral"), build("deepseek_v3")
    before = model(tokens).logits
    plan = plan_of(other, tokens)  # of layers 1 and 2; the model has 0 too
    with (
        pytest.raises(FailedPrecondition, match="nothing of layer 0"),
        balanced(model, plan, packed_of(other, plan, torch.float32)),
    ):
        pass
    assert torch.equal(model(tokens).logits, before)
    assert "_assay_run" not in vars(model.model.layers[0].mlp.experts)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_bytes_are_known_beforehand(
    build: Build, plan_of: PlanOf, tokens: Tensor, name: str, dtype: torch.dtype
) -> None:
    model = build(name)
    plan = plan_of(model, tokens, policy=Policy.BYTES, bits=(8, 4))
    model.to(dtype)
    for site, layer in zip(find_sites(model), describe(model).layers, strict=True):
        sizes = expert_bytes(layer)
        expected = sum(map(sizes.at, plan.layer(site.layer).slot_bits))
        assert packed_bytes(pack(site, plan.layer(site.layer))) == expected


def test_nan_in_an_expert_is_named_before_anything_is_written(build: Build, plan_of: PlanOf, tokens: Tensor) -> None:
    model = build("gpt_oss")
    plan = plan_of(model, tokens, policy=Policy.BYTES)
    layer = plan.layers[1]
    expert = next(e for e in range(layer.experts) if layer.slot_bits[e] != OWN)
    with torch.no_grad():
        model.model.layers[1].mlp.experts.down_proj[expert, 3, 2] = float("nan")
    with pytest.raises(InvalidInput) as caught:
        pack(find_sites(model)[1], layer)
    assert caught.value.violations[0].field == f"layers[1].experts[{expert}].down_proj"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda tensors, key: tensors.pop(f"{key}.scales"), "lacks a sound down_proj.scales"),
        (lambda tensors, key: tensors.pop(f"{key}.values"), "lacks a sound down_proj.values"),
        (lambda tensors, key: tensors.update({f"{key}.values": torch.zeros(3, 3, dtype=torch.int8)}), "lacks a sound"),
        (lambda tensors, key: tensors.update({f"{key}.scales": tensors[f"{key}.scales"].half()}), "lacks a sound"),
        (lambda tensors, key: tensors.pop(f"{key}_bias"), "other biases"),
        (lambda tensors, key: tensors.update({f"{key}_extra": torch.zeros(5)}), "other biases"),
        (lambda tensors, key: tensors.update({"layers.0.slots.99.down_proj": torch.zeros(5)}), "slot 99 is not"),
        (lambda tensors, key: tensors.update({"layers.0.slots.-1.down_proj": torch.zeros(5)}), "slot -1 is not"),
        (lambda tensors, key: tensors.clear(), "slot 0 lacks"),
    ],
)
def test_damaged_slots_are_data_loss_at_once(
    build: Build, plan_of: PlanOf, tokens: Tensor, damage: Any, why: str
) -> None:
    model = build("gpt_oss")
    layer = plan_of(model, tokens, policy=Policy.BYTES).layers[0]
    tensors = pack(find_sites(model)[0], layer)
    damage(tensors, f"layers.0.slots.{layer.experts}.down_proj")
    with pytest.raises(DataLoss, match=why):
        PackedExperts(layer, tensors, describe(model).layers[0])
