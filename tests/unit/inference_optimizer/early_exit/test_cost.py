"""The price of a look at the logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from assay_inference_optimizer.core.early_exit.cost import layer_cost


def test_one_probe_of_fox_1_costs_fifteen_layers() -> None:
    config = LlamaConfig(
        vocab_size=256_000, hidden_size=2048, intermediate_size=4096, num_hidden_layers=2, num_attention_heads=16,
        num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        cost = layer_cost(LlamaForCausalLM(config))
    # 256,000 * 2,048 = 524,288,000 over 2 * 2048^2 + 2 * 2048 * 512 + 3 * 2048 * 4096 = 35,651,584.
    assert cost.head_layers == pytest.approx(524_288_000 / 35_651_584)
    assert round(cost.head_layers, 1) == 14.7


def test_a_mixture_of_experts_pays_for_the_experts_a_token_is_sent_to(build: Callable[..., PreTrainedModel]) -> None:
    # Attention 32*32 + 2*16*32 + 32*32 = 3072, router 4*32 = 128, two of four experts 2 * 3*32*32 = 6144.
    # All four would be 15,488; none 3,200.
    assert layer_cost(build("qwen3_moe")).layer == 3072 + 128 + 6144
