"""How each model of the zoo is made."""

from __future__ import annotations

from assay.errors import InvalidInput, NotFound
from assay.zoo.attention_recipes import ATTENTION
from assay.zoo.early_exit_recipes import EARLY_EXIT
from assay.zoo.fox_recipes import FOX
from assay.zoo.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "recipe"]

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
        *EARLY_EXIT,
        *ATTENTION,
        *FOX,
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; `name@step` is its run left at that step.

    NotFound, naming what there is; InvalidInput for a step that the run does not have.
    """
    base, at, step = name.partition("@")
    if base not in RECIPES:
        raise NotFound(f"there is no recipe {name}; there are {', '.join(RECIPES)}")
    if not at:
        return RECIPES[base]
    if not step.isdecimal():
        raise InvalidInput("recipe", f"{name} names no step; write {base}@STEP, with a step of its run")
    return RECIPES[base].at(int(step))
