"""Running layers in parts against the model's own forward."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    StaticCache,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
)

from assay.errors import FailedPrecondition, InvalidInput, Unimplemented
from assay_inference_optimizer.core.early_exit.parts import parts_of
from assay_inference_optimizer.core.early_exit.residual import Residual
from assay_inference_optimizer.core.early_exit.rollback import check_rollback, mark, restore
from assay_inference_optimizer.core.early_exit.stack import stack_of

Build = Callable[..., PreTrainedModel]


@torch.no_grad()
def test_parts_of_any_length_give_the_models_own_logits(family: PreTrainedModel, tokens: Tensor) -> None:
    stack, ids = stack_of(family), tokens[:1]
    expected = family(input_ids=ids, use_cache=False).logits
    for boundary in range(1, stack.depth):
        cache = stack.new_cache()
        # Lower layers token by token, upper layers in pieces of 1, 4 and 7: as drafting and verifying use them.
        kept = [stack.run(0, boundary, stack.embed(ids[:, i : i + 1]), cache)[0] for i in range(12)]
        pieces = [Residual.joined(kept[piece]) for piece in (slice(1), slice(1, 5), slice(5, 12))]
        found = [stack.logits(stack.run(boundary, stack.depth, piece, cache)[0].hidden) for piece in pieces]
        torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-4, atol=1e-4)


def test_nothing_of_the_model_is_changed(family: PreTrainedModel, tokens: Tensor) -> None:
    before = copy.deepcopy(family.config.to_dict())
    stack = stack_of(family)
    stack.run(0, 2, stack.embed(tokens[:1]), stack.new_cache())
    assert family.config.to_dict() == before
    assert len(parts_of(family).layers) == 4
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in parts_of(family).layers)


@torch.no_grad()
def test_a_mark_brings_back_every_layer_twice(family: PreTrainedModel, tokens: Tensor) -> None:
    # crop alone would leave Mamba's state as it is after the tokens taken back.
    stack, ids = stack_of(family), tokens[:1]
    cache = stack.new_cache()
    stack.run(0, 4, stack.embed(ids[:, :6]), cache)
    here, answers = mark(cache, 0, 4), []
    for _ in range(3):
        after, _ = stack.run(0, 4, stack.embed(ids[:, 6:7]), cache)
        stack.run(0, 4, stack.embed(ids[:, 7:]), cache)
        answers.append(after.hidden)
        restore(cache, here)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_caches_that_cannot_go_back_are_refused(build: Build) -> None:
    model = build("llama")
    with pytest.raises(FailedPrecondition, match="StaticLayer"):
        check_rollback(StaticCache(config=model.config, max_cache_len=32))


def test_models_that_are_more_than_their_layers_are_refused() -> None:
    shape = {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8,
        "num_key_value_heads": 2, "intermediate_size": 24,
    }  # fmt: skip
    gemma = Gemma2ForCausalLM(Gemma2Config(**shape, layer_types=["full_attention"] * 2)).eval()
    with pytest.raises(Unimplemented, match="caps its logits"):
        stack_of(gemma)
    # Granite divides its logits by a setting of its own, which nothing but the numbers tells.
    granite = GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=8.0)).eval()
    with torch.no_grad():
        granite.lm_head.weight.normal_(0.0, 1.0)
    with pytest.raises(Unimplemented, match="more around its layers"):
        stack_of(granite)
    with pytest.raises(Unimplemented, match="full attention"):
        stack_of(MistralForCausalLM(MistralConfig(**shape, sliding_window=8)).eval())
    switch = SwitchTransformersForConditionalGeneration(
        SwitchTransformersConfig(vocab_size=64, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, num_experts=2)
    )
    with pytest.raises(Unimplemented, match="causal stack"):
        parts_of(switch)


@pytest.mark.parametrize("layer", [-1, 0, 4, 5])
def test_exits_after_no_layer_or_all_are_invalid(build: Build, layer: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 3"):
        parts_of(build("llama")).check_exit(layer)
