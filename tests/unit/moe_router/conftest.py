"""Tiny random models, one of every family; built in memory, seeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
)

from assay.models.checkpoint import load_model
from assay.models.predict import predict
from assay.models.windows import Windows
from assay_moe_router.core.importance import Importance, LayerScores, Metric
from assay_moe_router.core.layers import describe
from assay_moe_router.core.packed_experts import expert_bytes
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.replicate_quantize import Policy, plan_replicate_quantize
from assay_moe_router.core.routing import observe

# A loaded machine is no reason to fail, and the same examples everywhere none to wonder.
settings.register_profile("unit", deadline=None, derandomize=True)
settings.load_profile("unit")

EXPERTS = 8
SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def mixtral() -> PreTrainedModel:
    return MixtralForCausalLM(
        MixtralConfig(**SHAPE, intermediate_size=24, num_local_experts=EXPERTS, num_experts_per_tok=2)
    )


def olmoe() -> PreTrainedModel:
    return OlmoeForCausalLM(OlmoeConfig(**SHAPE, intermediate_size=24, num_experts=EXPERTS, num_experts_per_tok=3))


def qwen3_moe() -> PreTrainedModel:
    config = Qwen3MoeConfig(
        **SHAPE, intermediate_size=32, moe_intermediate_size=24, num_experts=EXPERTS,
        num_experts_per_tok=2, mlp_only_layers=[1],
    )  # fmt: skip
    return Qwen3MoeForCausalLM(config)


def deepseek_v3() -> PreTrainedModel:
    config = DeepseekV3Config(
        **SHAPE, intermediate_size=32, moe_intermediate_size=24, n_routed_experts=EXPERTS, num_experts_per_tok=2,
        n_shared_experts=1, first_k_dense_replace=1, n_group=2, topk_group=1, kv_lora_rank=8, q_lora_rank=8,
        qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
    )  # fmt: skip
    return DeepseekV3ForCausalLM(config)


def gpt_oss() -> PreTrainedModel:
    config = GptOssConfig(
        **SHAPE, head_dim=8, intermediate_size=24, num_local_experts=EXPERTS, num_experts_per_tok=2, sliding_window=8
    )
    return GptOssForCausalLM(config)


def switch(capacity: int = 3) -> PreTrainedModel:
    config = SwitchTransformersConfig(
        vocab_size=64, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=2, num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1, num_heads=2, num_experts=EXPERTS, expert_capacity=capacity, dropout_rate=0.0,
    )  # fmt: skip
    config.decoder_start_token_id = 0
    return SwitchTransformersForConditionalGeneration(config)


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE, intermediate_size=24))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    build.__name__: build for build in (mixtral, olmoe, qwen3_moe, deepseek_v3, gpt_oss)
}


def seeded(build: Callable[[], PreTrainedModel], scale: float = 4.0) -> PreTrainedModel:
    """Weights larger than the usual initialisation, so that experts and routers differ visibly."""
    torch.manual_seed(0)
    model = build()
    model.train(False)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "expert" in name or name.endswith(("gate.weight", "router.weight")):
                value.normal_(0.0, 0.05 * scale)
    model.set_experts_implementation("eager")
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Callable[[str], PreTrainedModel]:
    """`build("mixtral")`: a seeded tiny model of that family."""
    makers = {**FAMILIES, "switch": switch, "llama": llama}
    return lambda name: seeded(makers[name])


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny model of each decorated family in turn."""
    return seeded(FAMILIES[request.param])


@pytest.fixture
def tokens() -> torch.Tensor:
    """[6, 12] token ids."""
    return torch.randint(2, 64, (6, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def windows(tokens: torch.Tensor) -> Windows:
    """`tokens` as text."""
    return Windows(tokens, ("test",) * len(tokens))


@pytest.fixture
def plan_of() -> Callable[..., BalancePlan]:
    """`plan_of(model, tokens, ...)`: a plan from the model's own routing, less used experts paying first."""
    return planned


@torch.no_grad()
def planned(model: PreTrainedModel, tokens: Tensor, **options: Any) -> BalancePlan:
    options = {"policy": Policy.TARGET_LIS, "target_load_imbalance": 1.0, **options}
    with observe(model) as observer:
        predict(model, tokens)
    statistics = observer.statistics()
    importance = Importance(
        Metric.FREQUENCY,
        tuple(
            LayerScores(layer.layer, tuple(range(layer.experts)), layer.loads / layer.loads.sum())
            for layer in statistics.layers
        ),
    )
    sizes = {layer.layer: expert_bytes(layer) for layer in describe(model).layers}
    return plan_replicate_quantize("model", statistics, importance, sizes, **options)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[PreTrainedModel], tuple[Path, PreTrainedModel]]:
    """`saved(model)`: a checkpoint in bfloat16, and the model read back from it in its stored type."""

    def save(model: PreTrainedModel) -> tuple[Path, PreTrainedModel]:
        folder = tmp_path / "checkpoint"
        model.to(torch.bfloat16).save_pretrained(folder)
        stored = load_model(folder)
        stored.set_experts_implementation("eager")
        return folder, stored

    return save
