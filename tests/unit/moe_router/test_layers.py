"""What a model is made of, in families that keep their experts in unusual ways."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GraniteMoeSharedConfig,
    GraniteMoeSharedForCausalLM,
    NemotronHConfig,
    NemotronHForCausalLM,
    PreTrainedModel,
)

from assay.errors import InvalidInput, Unimplemented
from assay_moe_router.core.balanced import balanced
from assay_moe_router.core.layers import ModelLayout, describe, unique_tensors
from assay_moe_router.core.packed_experts import PackedExperts, pack
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]
SHAPE = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0}


def granite(shared: int) -> PreTrainedModel:
    config = GraniteMoeSharedConfig(
        **SHAPE, num_hidden_layers=2, intermediate_size=24, num_local_experts=8, num_experts_per_tok=2,
        shared_intermediate_size=shared,
    )  # fmt: skip
    return GraniteMoeSharedForCausalLM(config)


def nemotron() -> PreTrainedModel:
    config = NemotronHConfig(
        **SHAPE, layers_block_type=["moe", "attention", "moe"], head_dim=8, intermediate_size=24, n_routed_experts=8,
        num_experts_per_tok=2, moe_intermediate_size=24, moe_shared_expert_intermediate_size=24, n_shared_experts=1,
        n_group=1, topk_group=1, moe_latent_size=8,
    )  # fmt: skip
    return NemotronHForCausalLM(config)


def gemma() -> PreTrainedModel:
    config = Gemma4TextConfig(
        **SHAPE, vocab_size_per_layer_input=64, hidden_size_per_layer_input=0, num_hidden_layers=2, head_dim=8,
        global_head_dim=8, intermediate_size=24, enable_moe_block=True, num_experts=8, top_k_experts=2,
        moe_intermediate_size=24, num_kv_shared_layers=0, layer_types=["full_attention"] * 2,
    )  # fmt: skip
    return Gemma4ForCausalLM(config)


@pytest.mark.parametrize(
    ("make", "layers", "shared", "matrices"),
    [
        (lambda: granite(24), [0, 1], 1, ("gate_up_proj", "down_proj")),  # shared a level above the experts' block
        (lambda: granite(0), [0, 1], 0, ("gate_up_proj", "down_proj")),
        (nemotron, [0, 2], 1, ("up_proj", "down_proj")),  # no gate; experts in a latent space
        (gemma, [0, 1], 0, ("gate_up_proj", "down_proj")),  # k under another name; experts in the layer itself
    ],
)
@torch.no_grad()
def test_unusual_families_are_described_counted_and_run_exactly(
    make: Callable[[], PreTrainedModel],
    layers: list[int],
    shared: int,
    matrices: tuple[str, ...],
    tokens: Tensor,
    plan_of: Callable[..., BalancePlan],
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    for value in model.parameters():
        if value.ndim > 1:
            value.normal_(0, 0.1)
    model.set_experts_implementation("eager")
    layout = describe(model)
    assert [layer.layer for layer in layout.layers] == layers
    assert {(layer.experts, layer.top_k, layer.shared_experts) for layer in layout.layers} == {(8, 2, shared)}
    assert {layer.matrix_names for layer in layout.layers} == {matrices}
    before = model(tokens).logits
    with observe(model) as observer:
        assert torch.equal(model(tokens).logits, before)
    assert all(layer.loads.sum() == tokens.numel() * 2 for layer in observer.statistics().layers)
    plan = plan_of(model, tokens, exact=True)
    packed = {
        site.layer: PackedExperts(plan.layer(site.layer), pack(site, plan.layer(site.layer)), layout.layer(site.layer))
        for site in find_sites(model)
    }
    with balanced(model, plan, packed):
        assert torch.equal(model(tokens).logits, before)


def test_parameters_and_bytes_are_counted_once(build: Build) -> None:
    model = build("gpt_oss").bfloat16()
    layout = describe(model)
    # An expert: 16 x 48 and 24 x 16 weights, 48 and 16 biases. Three layers of eight.
    assert layout.expert_parameters == 3 * 8 * (768 + 384 + 64)
    assert layout.expert_bytes == 2 * layout.expert_parameters
    assert layout.parameters == model.num_parameters()
    assert (layout.layers[0].matrices, layout.layers[0].vector_values) == (((48, 16), (16, 24)), 64)


def test_tied_tensors_are_counted_once(build: Build) -> None:
    model = build("switch")  # its two stacks share an embedding with the head
    names = [
        name for name in model.state_dict() if "embed_tokens" in name or name in ("shared.weight", "lm_head.weight")
    ]
    assert len(names) > 2
    unique = unique_tensors(model)
    assert len({model.state_dict()[name].data_ptr() for name in names}) == sum(name in unique for name in names)
    assert describe(model).parameters == model.num_parameters()


def test_a_layout_survives_json(family: PreTrainedModel) -> None:
    layout = describe(family)
    assert ModelLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    with pytest.raises(InvalidInput, match="99 has no routed experts"):
        layout.layer(99)


def test_two_sets_of_experts_in_a_layer_are_unimplemented(build: Build) -> None:
    model = build("mixtral")
    model.model.layers[1].other = build("mixtral").model.layers[0].mlp
    with pytest.raises(Unimplemented, match="several sets of routed experts") as caught:
        find_sites(model)
    assert caught.value.reason == "AMBIGUOUS_LAYERS"
