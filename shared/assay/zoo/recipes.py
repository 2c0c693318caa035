"""How each model of the zoo is made. A recipe says everything that decides the weights, besides text and seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from assay.errors import NotFound


@dataclass(frozen=True)
class Recipe:
    """architecture: model_type of transformers; config: its settings besides vocabulary and special tokens.

    batch: sequences a step; sequence_length: tokens each of them predicts (an encoder-decoder reads the first
    half and predicts the second). auxiliary_loss: coefficient of the router's load-balancing loss in training;
    the saved config keeps it, and `output_router_logits` stays off so that `loss` means cross-entropy.
    """

    name: str
    about: str
    architecture: str
    config: dict[str, Any] = field(hash=False)
    steps: int
    batch: int = 16
    sequence_length: int = 128
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    final_learning_rate_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    auxiliary_loss: float = 0.0
    vocabulary: int = 2048

    @property
    def encoder_decoder(self) -> bool:
        return self.architecture == "switch_transformers"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that decides the weights."""
        decisive = {name: value for name, value in self.to_json().items() if name not in ("name", "about")}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


_LLAMA = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

_QWEN3_MOE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

_DEEPSEEK_MOE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 48,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 16,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_mtp_layers": 0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

_SWITCH = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 1,
    "num_experts": 8,
    # An even split of 64 tokens gives each expert 8; 12 leaves room and still drops tokens of a busy expert.
    "expert_capacity": 12,
    "router_jitter_noise": 0.0,
    "router_z_loss_coef": 0.001,
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "qwen3-moe-tiny",
            "Qwen3-MoE: 16 experts, top-2, no balancing loss; the demo's model",
            "qwen3_moe",
            {**_QWEN3_MOE, "router_aux_loss_coef": 0.0},
            steps=2200,
        ),
        Recipe(
            "qwen3-moe-tiny-aux",
            "the same with a load-balancing loss of 0.02",
            "qwen3_moe",
            {**_QWEN3_MOE, "router_aux_loss_coef": 0.02},
            steps=2200,
            auxiliary_loss=0.02,
        ),
        Recipe(
            "deepseek-moe-tiny",
            "DeepSeek-V3: one dense layer, then 16 routed experts, top-2 by sigmoid, and one shared expert",
            "deepseek_v3",
            _DEEPSEEK_MOE,
            steps=2200,
        ),
        Recipe(
            "switch-tiny",
            "Switch Transformers: encoder-decoder, 8 experts, top-1 with a capacity that drops tokens",
            "switch_transformers",
            {**_SWITCH, "router_aux_loss_coef": 0.01},
            steps=3000,
            auxiliary_loss=0.01,
        ),
        Recipe("llama-tiny", "Llama: four dense layers", "llama", _LLAMA, steps=1600),
    )
}


def recipe(name: str) -> Recipe:
    """NotFound, naming what there is."""
    try:
        return RECIPES[name]
    except KeyError:
        raise NotFound(f"there is no recipe {name}; there are {', '.join(RECIPES)}") from None
