"""Models that differ in depth, in architecture and in whether earlier layers were trained to answer.

All read the same tokens of the same text in sequences of one length, so that their losses compare. A model along its
training is `name@step`.
"""

from __future__ import annotations

from typing import Any

from assay.zoo.recipe import Recipe

_STEPS = 1200


def _dense(layers: int) -> dict[str, Any]:
    return {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }


_MOE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "moe_intermediate_size": 96,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "router_aux_loss_coef": 0.01,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

_MAMBA2 = {
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "expand": 2,
    "num_heads": 8,
    "head_dim": 16,
    "state_size": 16,
    "n_groups": 1,
    "chunk_size": 32,
    "tie_word_embeddings": True,
}

EARLY_EXIT: tuple[Recipe, ...] = (
    *(
        Recipe(f"dense-{layers}", f"Llama of {layers} layers of width 64", "llama", _dense(layers), steps=_STEPS)
        for layers in (6, 12, 24)
    ),
    *(
        Recipe(
            f"dense-{layers}-exit",
            f"the same {layers} layers, the earlier ones trained to answer too",
            "llama",
            _dense(layers),
            steps=_STEPS,
            exit_loss=0.5,
        )
        for layers in (6, 12, 24)
    ),
    Recipe(
        "moe-12",
        "Qwen3-MoE of 12 layers of width 64: 8 experts, top-2, balanced",
        "qwen3_moe",
        _MOE,
        steps=_STEPS,
        auxiliary_loss=0.01,
    ),
    Recipe("mamba2-12", "Mamba-2 of 12 state-space layers of width 64", "mamba2", _MAMBA2, steps=_STEPS),
)
