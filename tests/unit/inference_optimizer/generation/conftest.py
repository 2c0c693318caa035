"""Models of many families with random weights: what is tested is serving, not what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from assay.zoo.tokenizer import train_tokenizer
from assay_inference_optimizer.core.generation.served_model import ServedModel

VOCABULARY = 320
ROWS = ["def main(argv):\n    return argv\n", "The interpreter reads bytes, compiles them and then ", "import os\n"]
BASE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": BASE,
    "mistral": {**BASE, "sliding_window": 24},
    "gemma2": {**BASE, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "qwen3_moe": {**BASE, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {
        **{name: value for name, value in BASE.items() if name != "head_dim"},
        "num_key_value_heads": 4,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": None,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_mtp_layers": 0,
    },
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "state_size": 16,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 1,
        "chunk_size": 16,
    },
}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ServedModel]:
    """`served("llama")`, made once. Weights are large enough that rounding cannot swap two tokens."""
    made: dict[str, ServedModel] = {}
    text = tmp_path_factory.mktemp("text")
    (text / "train.jsonl").write_text("".join(json.dumps({"text": row * 5, "domain": ""}) + "\n" for row in ROWS))

    def make(family: str) -> ServedModel:
        if family not in made:
            folder: Path = tmp_path_factory.mktemp(family)
            torch.manual_seed(0)
            config = AutoConfig.for_model(family, vocab_size=VOCABULARY, initializer_range=0.3, **FAMILIES[family])
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            train_tokenizer(text, vocabulary=VOCABULARY).save_pretrained(folder)
            made[family] = ServedModel(folder, f"sha256:{family}")
        return made[family]

    return make
