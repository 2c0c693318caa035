"""What counting costs: logits under the hook against plain eager experts, and the time of a forward pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM
from unit.moe_router.conftest import FAMILIES, seeded

from assay.config import Config
from assay.models.checkpoint import load_model
from assay.models.predict import predict
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites
from bench.moe_parts.subject import TOKENS, trained
from bench.moe_parts.tables import show, verdict

OVERHEAD_TARGET = 0.02


@dataclass(frozen=True)
class EqualityRow:
    """of: a family with random weights, or a trained recipe. chosen: times an expert was chosen, in all layers."""

    of: str
    largest_difference: float
    chosen: int
    expected: int

    @property
    def met(self) -> bool:
        return self.largest_difference == 0 and self.chosen == self.expected


@dataclass(frozen=True)
class OverheadRow:
    """ratio: time with counting / without, median of paired rounds; low, high: 95 % of the rounds."""

    model: str
    sequences: int
    plain_ms: float
    ratio: float
    low: float
    high: float
    rounds: int


@torch.inference_mode()
def equality(name: str, model: PreTrainedModel, ids: torch.Tensor) -> EqualityRow:
    model.set_experts_implementation("eager")
    plain = predict(model, ids)[0].logits
    with observe(model) as observer:
        watched = predict(model, ids)[0].logits
    sites, tokens = find_sites(model), ids.shape[0] * (ids.shape[1] - 1)
    return EqualityRow(
        name,
        float((plain - watched).abs().max()),
        sum(int(layer.loads.sum()) for layer in observer.statistics().layers),
        sum(tokens * site.top_k for site in sites),
    )


@torch.inference_mode()
def overhead(name: str, model: PreTrainedModel, sequences: int, rounds: int) -> OverheadRow:
    """Pairs of passes, plain and counted in turn first, so that whatever slows the machine slows both."""
    vocabulary = model.config.vocab_size
    ids = torch.randint(2, vocabulary, (sequences, TOKENS + 1), generator=torch.Generator().manual_seed(0))

    def seconds() -> float:
        begun = time.perf_counter()
        predict(model, ids)
        return time.perf_counter() - begun

    def plain() -> float:
        return seconds()

    def counted() -> float:
        with observe(model):
            return seconds()

    model.set_experts_implementation("eager")
    for _ in range(3):
        plain(), counted()
    pairs = []
    for round_ in range(rounds):
        both = (plain, counted) if round_ % 2 else (counted, plain)
        taken = {run: run() for run in both}
        pairs.append((taken[plain], taken[counted]))
    ratios = [slow / fast for fast, slow in pairs]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return OverheadRow(
        name,
        sequences,
        statistics.median(fast for fast, _ in pairs) * 1e3,
        statistics.median(ratios),
        float(low),
        float(high),
        rounds,
    )


def larger_model() -> PreTrainedModel:
    """8 layers of 64 experts, top-6, width 512, with random weights: time needs no trained ones."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=8192, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
        head_dim=64, num_experts=64, num_experts_per_tok=6, moe_intermediate_size=256, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3MoeForCausalLM(config)
    model.eval()
    return model


def measure_equality(recipes: Sequence[str], seed: int, text: str) -> list[EqualityRow]:
    ids = torch.randint(2, 64, (6, 12), generator=torch.Generator().manual_seed(1))
    rows = [equality(f"{name}, random weights", seeded(build), ids) for name, build in FAMILIES.items()]
    for recipe in recipes:
        model = _load(recipe, seed, text)
        if not model.config.is_encoder_decoder:
            ids = torch.randint(2, model.config.vocab_size, (8, TOKENS), generator=torch.Generator().manual_seed(1))
            rows.append(equality(f"{recipe}, trained", model, ids))
    return rows


def measure_overhead(recipe: str, seed: int, text: str) -> list[OverheadRow]:
    small = _load(recipe, seed, text)
    rows = [overhead(recipe, small, sequences, rounds) for sequences, rounds in ((1, 300), (8, 150), (32, 60))]
    rows.append(overhead("8 layers, 64 experts, top-6, width 512", larger_model(), 4, 20))
    return rows


def print_equality(rows: Sequence[EqualityRow]) -> bool:
    show(
        "0a. Logits with the hook (counting only) against eager experts; bar: equal to the bit, counts = tokens x k",
        ["model", "largest difference", "chosen", "tokens x k, all layers", "bar"],
        [[row.of, f"{row.largest_difference:g}", row.chosen, row.expected, verdict(row.met)] for row in rows],
    )
    return all(row.met for row in rows)


def print_overhead(rows: Sequence[OverheadRow]) -> dict[str, float]:
    show(
        f"0b. Time of a forward pass with counting / without (eager experts, {TOKENS} tokens a sequence, passes "
        f"paired, one thread); target: at most {OVERHEAD_TARGET:.0%} more",
        ["model", "sequences", "plain, ms", "ratio", "95 % of rounds", "rounds", "target"],
        [
            [
                row.model,
                row.sequences,
                f"{row.plain_ms:.2f}",
                f"{row.ratio:.3f}",
                f"[{row.low:.3f}, {row.high:.3f}]",
                row.rounds,
                verdict(row.ratio <= 1 + OVERHEAD_TARGET),
            ]
            for row in rows
        ],
    )
    return {f"{row.model}, {row.sequences} sequences": row.ratio for row in rows}


def _load(recipe: str, seed: int, text: str) -> PreTrainedModel:
    artifacts = Config.from_environment().open_artifacts()
    return load_model(artifacts.path(trained(recipe, seed, text)), dtype=torch.float32)
