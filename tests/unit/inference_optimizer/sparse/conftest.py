"""Tiny random models, one of every family; untrained weights, so they prove shapes and equalities alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.sparse_layer import Chosen

VOCABULARY = 64
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
    # Wide enough for attention to prefer some blocks: scores that all but tie would prove nothing.
    "initializer_range": 0.3,
}
EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "head_dim": 8}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_d_conv": 4,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "num_experts": 4}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "olmoe": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "gemma": ("gemma", {"head_dim": 8}),
    "phi3": ("phi3", {"sliding_window": None}),
    "gpt_neox": ("gpt_neox", {"num_key_value_heads": None}),
    "mistral_windowed": ("mistral", {"sliding_window": 24}),
    "gemma2": ("gemma2", {"head_dim": 8, "sliding_window": 24}),
    "gemma3": ("gemma3_text", {"head_dim": 8, "sliding_window": 24, "num_hidden_layers": 6}),
    "gpt_oss": ("gpt_oss", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 24}),
    "deepseek_v3": (
        "deepseek_v3",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": None,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "n_group": 1,
            "topk_group": 1,
            "num_mtp_layers": 0,
        },
    ),
    "bamba": ("bamba", {**MAMBA, "num_hidden_layers": 3, "attn_layer_indices": [1, 2]}),
}


def build(family: str, **changes: Any) -> PreTrainedModel:
    architecture, config = FAMILIES[family]
    torch.manual_seed(0)
    shape = {**SHAPE, **config, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **shape)).eval()


@pytest.fixture(scope="session")
def make() -> Callable[..., PreTrainedModel]:
    """`make("llama")`: a new model, always the same weights."""
    return build


@pytest.fixture
def llama() -> PreTrainedModel:
    return build("llama")


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def sparse() -> SparseConfig:
    """Small blocks, two of three layers sparse, a density at which every text here leaves blocks out."""
    return SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.35, dense_layers=1)


def tokens(rows: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, VOCABULARY, (rows, count), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def text() -> Callable[..., Tensor]:
    """`text(rows, count, seed=1)`: random token ids."""
    return tokens


Blocks = dict[tuple[int, int], list[list[int]]]


@pytest.fixture
def chosen_blocks() -> Callable[..., Any]:
    """`with chosen_blocks(cache) as found:`; found[layer, query block] is the list of key blocks of each batch row."""
    from contextlib import contextmanager

    @contextmanager
    def recording(cache: SparseCache) -> Iterator[Blocks]:
        found: Blocks = {}

        def watch(layer: int, chosen: Chosen) -> None:
            selection = chosen.selection
            ids = selection.rows.ids()
            for row in range(ids.shape[0]):
                for entry in range(ids.shape[1]):
                    query_block = int(ids[row, entry])
                    if query_block >= 0:
                        count = int(selection.counts[row, 0, entry])
                        blocks = selection.indices[row, 0, entry, :count].tolist()
                        found.setdefault((layer, query_block), [[]] * ids.shape[0])[row] = blocks

        with cache.watched(watch):
            yield found

    return recording
