"""Prefill of a whole decoder model, dense and sparse in turn: what attention's gain leaves end to end."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from assay_inference_optimizer.core.sparse.attach import attach, detach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_kernels.bench import milliseconds

CPU = torch.device("cpu")


def prefill_of_a_model(length: int, rounds: int) -> dict[str, Any]:
    """Four layers of width 512, 8 query heads on 2 key heads, all of them sparse at density 0.2; random weights."""
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=length,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(0, config.vocab_size, (1, length))
    sparse = SparseConfig(dense_layers=0)
    times: dict[str, list[float]] = {"dense": [], "sparse": [], "without attention": []}
    with torch.inference_mode():
        for _ in range(rounds):
            times["dense"].append(milliseconds(lambda: _read(model, ids, DynamicCache(config=config)), CPU))
            attach(model)
            cache = SparseCache(config, sparse)
            times["sparse"].append(milliseconds(lambda cache=cache: _read(model, ids, cache), CPU))
            detach(model)
        density = cache.mean_density()
        for layer in model.model.layers:
            layer.self_attn = _NoAttention()
        times["without attention"].append(milliseconds(lambda: _read(model, ids, DynamicCache(config=config)), CPU))
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratios = [dense / ours for dense, ours in zip(times["dense"], times["sparse"], strict=True)]
    return {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "length": length,
        "dense_ms": medians["dense"],
        "sparse_ms": medians["sparse"],
        "ratio": statistics.median(ratios),
        "density": density,
        "attention_share": 1 - medians["without attention"] / medians["dense"],
    }


class _NoAttention(nn.Module):
    """Stands where attention does and costs nothing; its projections go with it."""

    def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return hidden_states, None


def _read(model: LlamaForCausalLM, ids: Tensor, cache: Any) -> None:
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
