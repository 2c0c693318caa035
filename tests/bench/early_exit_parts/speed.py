"""Self-speculation: the same tokens as greedy decoding, and how much sooner."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.parts import parts_of
from assay_inference_optimizer.core.early_exit.speculative import Accepted, speculate
from bench.early_exit_parts.family import Trained
from bench.early_exit_parts.texts import CANCEL
from bench.moe_parts.tables import show, verdict

IDENTITY_TOKENS = 8
SPEED_TOKENS = 64
DRAFT = 8


@dataclass(frozen=True)
class IdentityRow:
    model: str
    prompts: int
    exit_layers: int
    tokens: int
    different: int
    accepted: float
    replayed: int


@dataclass(frozen=True)
class SpeedRow:
    """ratio: plain greedy decoding's time by ours, median over rounds; of the faster of two plain loops, ours and
    one around transformers' own forward.
    """

    model: str
    exit_layer: int
    ratio: float
    least: float
    most: float
    plain_ms: float
    forward_ms: float
    accepted: float
    tokens_a_round: float


def speculated(model: PreTrainedModel, ids: Tensor, exit_layer: int, count: int) -> list[Accepted]:
    return list(speculate(model, ids, exit_layer, count, draft_tokens=DRAFT, cancel=CANCEL))


def plain(model: PreTrainedModel, ids: Tensor, count: int) -> list[int]:
    return [token for token, _ in greedy(model, ids, count, cancel=CANCEL)]


@torch.no_grad()
def by_forward(model: PreTrainedModel, ids: Tensor, count: int) -> list[int]:
    """Greedy decoding as one would write it with transformers."""
    cache, tokens = DynamicCache(config=model.config), []
    name = "cache_params" if model.config.model_type == "mamba2" else "past_key_values"
    for _ in range(count):
        logits = model(input_ids=ids, use_cache=True, logits_to_keep=1, **{name: cache}).logits[0, -1]
        tokens.append(int(logits.argmax()))
        ids = torch.tensor([[tokens[-1]]])
    return tokens


def measure_identity(trained: Trained, prompts: Tensor) -> IdentityRow:
    """Every exit layer on every prompt, against plain greedy decoding."""
    model, depth = trained.model, parts_of(trained.model).depth
    different = accepted = replayed = total = 0
    for row in prompts:
        expected = plain(model, row[None], IDENTITY_TOKENS)
        for exit_layer in range(1, depth):
            rounds = speculated(model, row[None], exit_layer, IDENTITY_TOKENS)
            different += [token for each in rounds for token in each.tokens] != expected
            accepted += sum(each.accepted for each in rounds)
            replayed += sum(each.replayed for each in rounds)
            total += IDENTITY_TOKENS
    return IdentityRow(trained.name, len(prompts), depth - 1, total, different, accepted / total, replayed)


def measure_speed(trained: Trained, prompts: Tensor, exit_layers: list[int], rounds: int = 3) -> list[SpeedRow]:
    """prompts: timed together, each round; rivals take turns prompt by prompt."""
    model = trained.model
    rivals: dict[str, Callable[[Tensor], object]] = {
        "plain": lambda ids: plain(model, ids, SPEED_TOKENS),
        "forward": lambda ids: by_forward(model, ids, SPEED_TOKENS),
        **{
            f"exit {layer}": lambda ids, layer=layer: speculated(model, ids, layer, SPEED_TOKENS)
            for layer in exit_layers
        },
    }
    seconds: dict[str, list[float]] = {name: [0.0] * rounds for name in rivals}
    for turn in range(rounds):
        for row in prompts:
            for name, run in rivals.items():
                begun = time.perf_counter()
                run(row[None])
                seconds[name][turn] += time.perf_counter() - begun
    best = np.minimum(seconds["plain"], seconds["forward"])
    rows = []
    for layer in exit_layers:
        ratios = np.sort(best / np.array(seconds[f"exit {layer}"]))
        all_rounds = [each for row in prompts for each in speculated(model, row[None], layer, SPEED_TOKENS)]
        drafted = sum(each.drafted for each in all_rounds)
        per_token = 1000 / (len(prompts) * SPEED_TOKENS)
        rows.append(
            SpeedRow(
                trained.name, layer, float(np.median(ratios)), float(ratios[0]), float(ratios[-1]),
                float(np.median(seconds["plain"])) * per_token, float(np.median(seconds["forward"])) * per_token,
                sum(each.accepted for each in all_rounds) / max(1, drafted),
                sum(len(each.tokens) for each in all_rounds) / len(all_rounds),
            )
        )  # fmt: skip
    return rows


def print_identity(rows: list[IdentityRow]) -> bool:
    show(
        "Self-speculation against greedy decoding, every exit layer",
        ("model", "prompts", "exit layers", "tokens", "answers that differ", "tokens drafted", "near-ties replayed"),
        [
            (row.model, row.prompts, row.exit_layers, row.tokens, row.different, f"{row.accepted:.0%}", row.replayed)
            for row in rows
        ],
    )
    met = all(row.different == 0 for row in rows)
    print(f"token-identical: {verdict(met)}")
    return met


def print_speed(rows: list[SpeedRow], bar_models: tuple[str, ...]) -> bool:
    show(
        f"Speed by that of plain greedy decoding, {SPEED_TOKENS} tokens a prompt, one thread, interleaved",
        ("model", "exit", "ratio", "rounds", "plain ms", "transformers ms", "drafts kept", "tokens a round"),
        [
            (
                row.model, row.exit_layer, f"{row.ratio:.2f}", f"[{row.least:.2f}, {row.most:.2f}]",
                f"{row.plain_ms:.2f}",
                f"{row.forward_ms:.2f}", f"{row.accepted:.0%}", f"{row.tokens_a_round:.2f}",
            )
            for row in rows
        ],
        "ratio: against the faster of both plain loops in the same round; ms: a token.",
    )  # fmt: skip
    best = {name: max((row.ratio for row in rows if row.model == name), default=0.0) for name in bar_models}
    met = max(best.values(), default=0.0) >= 1.2
    print(f">= 1.2x on a model trained with exit losses: {verdict(met)} ({best})")
    return met
