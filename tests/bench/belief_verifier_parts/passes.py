"""One pass over a trace against one prompt for each of its prefixes: the same scores, at how much less time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assay.cancel import CancelToken
from assay_tom_verifier.core.stories.generate import generate_stories
from assay_tom_verifier.core.verifier.checkpoint_model import CheckpointVerifier
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel
from assay_tom_verifier.core.verifier.trace_text import TraceText, trace_text
from assay_tom_verifier.core.verifier.written_traces import containers_of
from bench.moe_parts.tables import show

STEPS, TRACES = 16, 64


@dataclass(frozen=True)
class Speed:
    """ratio: time of one prompt a prefix over that of one pass; median [least, most] of paired rounds."""

    verifier: str
    steps: int
    ratio: tuple[float, float, float]
    one_pass_ms: float
    largest_difference: float


def measure_passes(verifier: ProcessBeliefModel, rounds: int = 7) -> list[Speed]:
    return [_small(verifier, rounds), _checkpoint(rounds)]


def print_passes(rows: list[Speed]) -> None:
    show(
        f"Scoring all prefixes of traces of {STEPS} steps: one prompt a prefix over one pass, times",
        ("verifier", "ratio", "one pass, ms", "scores differ by"),
        [
            (row.verifier, "{:.1f} [{:.1f}, {:.1f}]".format(*row.ratio), f"{row.one_pass_ms:.1f}",
             f"{row.largest_difference:.0e}")
            for row in rows
        ],
    )  # fmt: skip


def _small(verifier: ProcessBeliefModel, rounds: int) -> Speed:
    story, question, _ = _example()
    generator = torch.Generator().manual_seed(0)
    names = containers_of(story)
    traces = [
        [names[i] for i in torch.randint(0, len(names), (STEPS,), generator=generator).tolist()] for _ in range(TRACES)
    ]

    def one_pass() -> list[list[float]]:
        return verifier.score_claims(story, question, traces)

    def per_prefix() -> list[list[float]]:
        columns = [verifier.score_claims(story, question, [trace[:k] for trace in traces]) for k in range(1, STEPS + 1)]
        return [[column[row][-1] for column in columns] for row in range(TRACES)]

    return _compare(f"small network, {TRACES} traces", one_pass, per_prefix, rounds)


def _checkpoint(rounds: int) -> Speed:
    story, question, claims = _example()
    lines = [line.text for line in story.lines]
    text = trace_text(lines, question, claims, containers_of(story))
    verifier = CheckpointVerifier(_llama(), _tokenizer())
    cancel = CancelToken()

    def one_pass() -> list[list[float]]:
        return verifier.score([text], cancel)

    def per_prefix() -> list[list[float]]:
        prefixes = [TraceText(text.prompt, text.steps[:k]) for k in range(1, STEPS + 1)]
        return [[scores[-1] for prefix in prefixes for scores in verifier.score([prefix], cancel)]]

    return _compare("Llama-shaped checkpoint, 7 M parameters", one_pass, per_prefix, rounds)


def _compare(name: str, one_pass: Callable[[], Any], per_prefix: Callable[[], Any], rounds: int) -> Speed:
    difference = float((torch.tensor(one_pass()) - torch.tensor(per_prefix())).abs().max())
    assert difference < 1e-4  # a wrong score has no speed
    ratios, ours = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        one_pass()
        between = time.perf_counter()
        per_prefix()
        ours.append(between - begun)
        ratios.append((time.perf_counter() - between) / ours[-1])
    ratio = statistics.median(ratios), min(ratios), max(ratios)
    return Speed(name, STEPS, ratio, 1e3 * statistics.median(ours), difference)


def _example() -> Any:
    for made in generate_stories(100, 3, noise=0.15):
        if len(made.story.lines) >= STEPS:
            names = containers_of(made.story)
            return made.story, made.questions[3].question, [names[i % len(names)] for i in range(STEPS)]
    raise AssertionError("no story is long enough")


def _llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1024, hidden_size=256, intermediate_size=768, num_hidden_layers=8, num_attention_heads=8,
            num_key_value_heads=4, max_position_embeddings=4096,
        )
    )  # fmt: skip


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([made.text for made in generate_stories(200, 1, claims=True)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
