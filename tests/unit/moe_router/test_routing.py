"""The hook counts every routed token once and changes no bit of the output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import FailedPrecondition, Unimplemented
from assay_moe_router.core.layers import describe
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]


@torch.no_grad()
def test_logits_are_bit_equal_to_eager_and_counts_are_tokens_times_k(family: PreTrainedModel, tokens: Tensor) -> None:
    eager = family(tokens).logits
    with observe(family) as observer:
        observed = family(tokens).logits
    assert torch.equal(observed, eager)
    statistics = observer.statistics()
    layout = describe(family)
    assert [layer.layer for layer in statistics.layers] == [layer.layer for layer in layout.layers]
    for layer, described in zip(statistics.layers, layout.layers, strict=True):
        assert layer.counts.dtype == np.int64
        assert layer.counts.sum() == tokens.numel() * described.top_k
        assert (layer.counts.sum(axis=1) == tokens.shape[1] * described.top_k).all()
    # The block's end restores the model's own way.
    assert torch.equal(family(tokens).logits, eager)


@torch.no_grad()
def test_counts_match_the_routers_own_choices(build: Build, tokens: Tensor) -> None:
    model = build("mixtral")
    logits = model(tokens, output_router_logits=True).router_logits
    with observe(model) as observer:
        model(tokens)
    for layer, router in zip(observer.statistics().layers, logits, strict=True):
        chosen = router.topk(2, dim=-1)
        assert layer.loads.tolist() == torch.bincount(chosen.indices.flatten(), minlength=8).tolist()
        probabilities = router.float().softmax(-1).topk(2, dim=-1).values
        # Mixtral renormalises the chosen weights: they add up to one per token.
        assert layer.weight_sums.sum() == pytest.approx(tokens.numel(), rel=1e-6)
        assert probabilities.sum() < tokens.numel()


@torch.no_grad()
def test_padding_is_counted_apart(family: PreTrainedModel, tokens: Tensor) -> None:
    mask = torch.ones_like(tokens)
    mask[0, :5] = 0
    mask[3, :2] = 0
    with observe(family) as observer:
        family(tokens, attention_mask=mask)
    for layer in observer.statistics().layers:
        # Counting padding would give every sequence 12 * k.
        assert (layer.counts.sum(axis=1) // layer.top_k).tolist() == [7, 12, 12, 10, 12, 12]
        assert layer.masked_tokens == 7


def test_dense_layers_and_shared_experts_are_not_routed_experts(build: Build) -> None:
    layout = describe(build("deepseek_v3"))
    assert layout.dense_layers == (0,)
    assert [(layer.layer, layer.shared_experts) for layer in layout.layers] == [(1, 1), (2, 1)]
    assert describe(build("qwen3_moe")).dense_layers == (1,)


def test_describe_reads_the_fused_layouts_flags(build: Build) -> None:
    layer = describe(build("gpt_oss")).layers[0]
    assert (layer.layout, layer.transposed, layer.interleaved, layer.biased) == ("fused", True, True, True)
    layer = describe(build("mixtral").bfloat16()).layers[0]
    # 2 * 24 x 16 and 16 x 24 values of two bytes.
    assert (layer.bytes_per_expert, layer.dtype, layer.transposed) == (2 * (768 + 384), "bfloat16", False)


def test_a_dense_model_is_unimplemented_by_name(build: Build) -> None:
    with pytest.raises(Unimplemented, match="LlamaForCausalLM"):
        describe(build("llama"))


@torch.no_grad()
def test_switch_counts_routed_and_dropped_tokens_apart(build: Build, tokens: Tensor) -> None:
    model = build("switch")
    eager = model(input_ids=tokens, labels=tokens).logits
    with observe(model) as observer:
        observed = model(input_ids=tokens, labels=tokens).logits
    assert torch.equal(observed, eager)
    statistics = observer.statistics()
    assert len(statistics.layers) == len(find_sites(model)) == 2
    for layer in statistics.layers:
        assert layer.counts.sum() == tokens.numel()
        # At most 3 tokens of a sequence may go to one expert; the rest of its choices is dropped.
        assert layer.dropped.tolist() == np.maximum(layer.counts - 3, 0).sum(axis=0).tolist()
    assert sum(layer.dropped_tokens for layer in statistics.layers) > 0


@torch.no_grad()
def test_ids_of_experts_held_elsewhere_are_counted_apart(build: Build, tokens: Tensor) -> None:
    model = build("mixtral")
    router = model.model.layers[0].mlp.gate

    def sentinel(_module: object, _arguments: object, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        logits, weights, index = output
        return logits, weights, torch.where(index == 0, 8, index)

    router.register_forward_hook(sentinel)
    with observe(model) as observer:
        model(tokens)
    first = observer.statistics().layers[0]
    assert first.loads[0] == 0
    assert first.foreign_choices > 0
    assert first.loads.sum() + first.foreign_choices == tokens.numel() * 2


@torch.no_grad()
def test_a_layer_that_bypasses_the_hook_is_an_error(build: Build, tokens: Tensor) -> None:
    model = build("mixtral")
    experts = model.model.layers[1].mlp.experts
    original = type(experts).forward.__wrapped__
    experts.forward = lambda *arguments: original(experts, *arguments)
    with pytest.raises(FailedPrecondition, match="layer 1's experts ran 0 times"), observe(model):
        model(tokens)


@torch.no_grad()
def test_switch_chooses_in_the_models_own_type(build: Build, tokens: Tensor) -> None:
    # Two logits a little apart are one probability in bfloat16, and of equals the router takes the first.
    model = build("switch").bfloat16()
    model.config.expert_capacity = 99
    routers = [site.router_path for site in find_sites(model)]
    chosen: dict[str, Tensor] = {}
    for path in routers:
        router = model.get_submodule(path)
        router.expert_capacity = 99
        router.classifier.float()
        router.classifier.weight[2] *= 5
        router.classifier.weight[5] = router.classifier.weight[2] * (1 + 1e-5)
        router.register_forward_hook(lambda _m, _a, output, path=path: chosen.update({path: output[0].sum(dim=(0, 1))}))
    with observe(model) as observer:
        model(input_ids=tokens, labels=tokens)
    for layer, path in zip(observer.statistics().layers, routers, strict=True):
        assert layer.loads.tolist() == chosen[path].tolist()
        assert layer.dropped_tokens == 0
        assert layer.loads[2] > 0


@torch.no_grad()
def test_switch_masks_encoder_and_decoder_apart(build: Build, tokens: Tensor) -> None:
    mask, decoder_mask = torch.ones_like(tokens), torch.ones_like(tokens[:, :7])
    mask[0, 9:], decoder_mask[1, 5:] = 0, 0
    model = build("switch")
    with observe(model) as observer:
        model(
            input_ids=tokens, attention_mask=mask, decoder_input_ids=tokens[:, :7], decoder_attention_mask=decoder_mask
        )
    encoder, decoder = observer.statistics().layers
    assert encoder.counts.sum(axis=1).tolist() == [9, 12, 12, 12, 12, 12]
    assert decoder.counts.sum(axis=1).tolist() == [7, 5, 7, 7, 7, 7]
    assert (encoder.masked_tokens, decoder.masked_tokens) == (3, 2)


@torch.no_grad()
def test_cached_decoding_counts_each_token_once(build: Build, tokens: Tensor) -> None:
    model, mask = build("mixtral"), torch.ones(6, 12, dtype=torch.int64)
    mask[2, :4] = 0
    with observe(model) as observer:
        cache = model(tokens[:, :11], attention_mask=mask[:, :11], use_cache=True).past_key_values
        model(tokens[:, 11:], attention_mask=mask, past_key_values=cache)
    for layer in observer.statistics().layers:
        # One pass of 11 tokens, one of 1: 12 rows, the second six filled up to the first ones' length.
        assert layer.counts.sum(axis=1).tolist() == [22, 22, 14, 22, 22, 22, 2, 2, 2, 2, 2, 2]
        assert layer.masked_tokens == 4


@torch.no_grad()
def test_the_models_own_way_comes_back_whatever_happens(build: Build, tokens: Tensor) -> None:
    for name, way in (("mixtral", "grouped_mm"), ("switch", "eager")):
        model = build(name)
        model.set_experts_implementation(way)
        with pytest.raises(KeyError), observe(model):
            raise KeyError
        assert model.config._experts_implementation == way
        assert all("forward" not in vars(site.module) for site in find_sites(model))
        assert all("_assay_run" not in vars(site.module) for site in find_sites(model))


@torch.no_grad()
def test_nan_in_a_router_is_named(build: Build, tokens: Tensor) -> None:
    model = build("mixtral")
    model.model.layers[1].mlp.gate.weight[4] = float("nan")
    with observe(model), pytest.raises(FailedPrecondition, match="router of layer 1 gives weights that are not finite"):
        model(tokens)
