"""The early-exit family: small models that differ in one thing each, trained from the standard library's source."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from assay.zoo.recipes import Recipe
from assay.zoo.train import learning_rate, new_model
from assay_inference_optimizer.core.early_exit.exit_loss import exit_loss
from assay_inference_optimizer.core.early_exit.parts import parts_of
from bench.early_exit_parts.texts import Texts

VOCABULARY = 1024
EXITS_A_STEP = 3


@dataclass(frozen=True)
class Member:
    """One training.

    exit_share: weight of exit losses, 0 for none. exits: layers that get them, of equal weight; if none are named,
    EXITS_A_STEP change from step to step, and later ones weigh more (as LayerSkip does). checkpoints: shares of the
    steps to keep besides the end. tuned_from: the member whose end it goes on from. questions: trained on questions
    and answers.
    """

    name: str
    recipe: Recipe
    exit_share: float = 0.0
    checkpoints: tuple[float, ...] = ()
    tuned_from: str | None = None
    exits: tuple[int, ...] = ()
    questions: bool = False

    def exit_weights(self, depth: int, generator: torch.Generator) -> dict[int, float]:
        if not self.exit_share:
            return {}
        if self.exits:
            return dict.fromkeys(self.exits, self.exit_share / len(self.exits))
        layers = (torch.randperm(depth - 1, generator=generator)[:EXITS_A_STEP] + 1).sort().values.tolist()
        return {layer: self.exit_share * layer / sum(layers) for layer in layers}

    def key(self, seed: int) -> str:
        basis = {**asdict(self), "recipe": self.recipe.fingerprint(), "seed": seed}
        return f"{self.name}-{seed}-{hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Trained:
    """One set of weights. name: the member's, with @share for a checkpoint. loss: nats a token on held-out text."""

    name: str
    member: Member
    model: PreTrainedModel
    seconds: float
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def _dense(layers: int, **training: Any) -> Recipe:
    config = {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    return Recipe(
        f"dense-{layers}", f"Llama, {layers} layers", "llama", config, vocabulary=VOCABULARY,
        **{"steps": 700, "batch": 8, "sequence_length": 128, "warmup_steps": 40, "learning_rate": 2e-3, **training},
    )  # fmt: skip


def _moe(layers: int) -> Recipe:
    config = {
        **_dense(layers).config,
        "head_dim": 32,
        "moe_intermediate_size": 80,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "router_aux_loss_coef": 0.0,
    }
    return replace(_dense(layers), name=f"moe-{layers}", architecture="qwen3_moe", config=config)


def _mamba(layers: int) -> Recipe:
    config = {
        "hidden_size": 128,
        "num_hidden_layers": layers,
        "num_heads": 8,
        "head_dim": 32,
        "expand": 2,
        "state_size": 32,
        "n_groups": 1,
        "conv_kernel": 4,
        "chunk_size": 32,
        "tie_word_embeddings": True,
    }
    return replace(_dense(layers), name=f"mamba2-{layers}", architecture="mamba2", config=config)


FAMILY = (
    Member("dense-4", _dense(4)),
    Member("dense-8", _dense(8), checkpoints=(0.1, 0.3)),
    Member("dense-12", _dense(12)),
    Member("moe-8", _moe(8)),
    Member("mamba2-8", _mamba(8)),
    Member("dense-8-exits", _dense(8), exit_share=1.0),
    Member("dense-12-exits", _dense(12), exit_share=1.0),
    Member("dense-8-tuned", _dense(8, steps=200, learning_rate=5e-4), tuned_from="dense-8", questions=True),
    # A drafter needs early answers above all: the first three layers, at three times the weight of the last.
    Member(
        "dense-12-drafts",
        _dense(12, steps=250, learning_rate=1e-3),
        exit_share=3.0,
        tuned_from="dense-12-exits",
        exits=(1, 2, 3),
    ),
)


def train_family(members: tuple[Member, ...], texts: Texts, seed: int, folder: Path) -> Iterator[Trained]:
    """Every set of weights in order; those found in `folder` are not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    ends: dict[str, Trained] = {}
    for member in members:
        for trained in _train(member, texts, seed, folder, ends):
            yield trained
        ends[member.name] = trained


def _train(member: Member, texts: Texts, seed: int, folder: Path, ends: dict[str, Trained]) -> Iterator[Trained]:
    shares = (*member.checkpoints, 1.0)
    files = [folder / f"{member.key(seed)}-{texts.digest}-{share:g}.safetensors" for share in shares]
    model = new_model(member.recipe, seed)
    if member.tuned_from is not None:
        model.load_state_dict(ends[member.tuned_from].model.state_dict())
    begun, done = time.monotonic(), 0
    optimizer: torch.optim.Optimizer | None = None
    for share, file in zip(shares, files, strict=True):
        last = round(member.recipe.steps * share)
        if not all(each.exists() for each in files):
            optimizer = optimizer or torch.optim.AdamW(
                model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01
            )
            for step in range(done, last):
                _step(member, model, optimizer, texts, seed, step)
            done = last
            save_file({name: value.contiguous() for name, value in _own(model).items()}, file)
        snapshot = new_model(member.recipe, seed)
        snapshot.load_state_dict(load_file(file), strict=False)
        name = member.name if share == 1 else f"{member.name}@{share:.0%}"
        yield Trained(name, member, snapshot.eval(), time.monotonic() - begun)


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Weights once each: a tied head is its embedding."""
    return dict(model.named_parameters())


def _step(
    member: Member, model: PreTrainedModel, optimizer: torch.optim.Optimizer, texts: Texts, seed: int, step: int
) -> float:
    recipe = member.recipe
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    generator = torch.Generator().manual_seed(seed * 2**32 + step)
    stream = texts.tuning if member.questions else texts.train
    windows = stream.random_windows(recipe.batch, recipe.sequence_length + 1, generator)
    loss, nats = exit_loss(model, windows, member.exit_weights(parts_of(model).depth, generator))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return nats.item()
