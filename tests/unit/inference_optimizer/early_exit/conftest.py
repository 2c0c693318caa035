"""Tiny models of every family, random or trained in seconds on the standard library's source as bytes."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from assay.cancel import CancelToken
from assay_inference_optimizer.core.early_exit.exit_loss import exit_loss
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant

# A loaded machine is no reason to fail, and the same examples everywhere none to wonder.
settings.register_profile("early-exit", deadline=None, derandomize=True)
settings.load_profile("early-exit")

VOCABULARY = 128
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
# Of up to 16 blocks a query is left two or three to choose, beside its own and the one before.
SPARSE = SparseConfig(block_size=16, sink_tokens=0, window_tokens=16, target_density=0.3, dense_layers=1)
CHOICES = {
    "icml": SPARSE,
    "v1": replace(SPARSE, variant=Variant.V1),
    "one_hop": replace(SPARSE, method=Method.ONE_HOP),
    "oracle": replace(SPARSE, method=Method.ORACLE),
    "random": replace(SPARSE, method=Method.RANDOM),
    "sink_window": replace(SPARSE, method=Method.SINK_WINDOW),
}


def llama(layers: int) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=layers, intermediate_size=64))


def qwen3_moe(layers: int) -> PreTrainedModel:
    config = Qwen3MoeConfig(
        **SHAPE, num_hidden_layers=layers, intermediate_size=64, moe_intermediate_size=32, num_experts=4,
        num_experts_per_tok=2, head_dim=8,
    )  # fmt: skip
    return Qwen3MoeForCausalLM(config)


def olmoe(layers: int) -> PreTrainedModel:
    config = OlmoeConfig(**SHAPE, num_hidden_layers=layers, intermediate_size=32, num_experts=4, num_experts_per_tok=2)
    return OlmoeForCausalLM(config)


def mamba2(layers: int) -> PreTrainedModel:
    config = Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=layers, num_heads=4, head_dim=16, state_size=16,
        n_groups=1, chunk_size=16, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return Mamba2ForCausalLM(config)


FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    build.__name__: build for build in (llama, qwen3_moe, olmoe, mamba2)
}


def seeded(name: str, layers: int = 4) -> PreTrainedModel:
    """Random weights, large enough that layers differ and logits are spread."""
    torch.manual_seed(0)
    model = FAMILIES[name](layers).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and parameter.shape[-1] > 4:
                parameter.normal_(0.0, 0.2)
    return model


def sharpened(name: str) -> PreTrainedModel:
    """Attention that prefers some blocks: scores that all but tie would prove nothing."""
    model = seeded(name)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "q_proj" in key or "k_proj" in key:
                parameter.mul_(3.0)
    return model


def source_bytes() -> Tensor:
    """Source of a few modules, as bytes below 128."""
    text = b"".join(Path(str(module.__file__)).read_bytes() for module in (argparse, ast, dataclasses, textwrap))
    return torch.tensor([byte for byte in text if byte < VOCABULARY], dtype=torch.int64)


def trained(name: str, *, steps: int) -> PreTrainedModel:
    torch.manual_seed(0)
    model = FAMILIES[name](4)
    ids, random = source_bytes(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * min(1.0, (step + 1) / 10) * (1.05 - step / steps)
        starts = torch.randint(0, len(ids) - 65, (16,), generator=random)
        loss, _ = exit_loss(model, ids[starts[:, None] + torch.arange(65)], dict.fromkeys(range(1, 4), 0.3))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Callable[..., PreTrainedModel]:
    """`build("llama", layers)`: a seeded tiny model of that family."""
    return seeded


@pytest.fixture
def sharp() -> Callable[[str], PreTrainedModel]:
    """`sharp("llama")`: a seeded tiny model of four layers to attend sparsely with."""
    return sharpened


@pytest.fixture
def long_prompts() -> Tensor:
    """[3, 200] random ids: twelve blocks and a half."""
    return torch.randint(2, VOCABULARY, (3, 200), generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny random model of each family in turn."""
    return seeded(request.param)


@pytest.fixture(scope="session")
def trained_model(one_thread: None) -> Callable[[str], PreTrainedModel]:
    """`trained_model("llama")`: trained once a session, with exit losses. Not to be changed."""
    known: dict[str, PreTrainedModel] = {}

    def get(name: str) -> PreTrainedModel:
        if name not in known:
            known[name] = trained(name, steps=100 if name == "llama" else 50)
        return known[name]

    return get


@pytest.fixture(scope="session")
def prompts() -> Tensor:
    """[200, 24] pieces of source."""
    ids = source_bytes()
    starts = torch.randint(0, len(ids) - 24, (200,), generator=torch.Generator().manual_seed(5))
    return ids[starts[:, None] + torch.arange(24)]


@pytest.fixture
def tokens() -> Tensor:
    """[6, 12] random ids."""
    return torch.randint(2, VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def cancel() -> CancelToken:
    return CancelToken()
