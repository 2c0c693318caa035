"""Fox-1's curriculum against one stage at equal tokens, instructions after it, and ablations at equal parameters.

    PYTHONPATH=tests python -m bench.curriculum [--parts PART...] [--seeds N...] [--ablations NAME...] [--out FILE]

Models are the zoo's `fox-tiny`s, from the store that ASSAY_STORE names; those it lacks are trained first, about a
minute each on a quiet core: three a seed, and one more for each ablation. Figures are nats per byte of held-out text,
which vocabularies do not change. Of the parts, `shapes` measures published sizes with random weights. One thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.config import Config
from assay.models.checkpoint import load_model, load_tokenizer
from assay.progress import silent
from assay.zoo.recipes import recipe as recipe_of
from assay.zoo.store import ensure_model, ensure_text
from bench.curriculum_parts.answers import answer_nats, held_out_instructions
from bench.curriculum_parts.held_out_by_length import held_out_by_length, held_out_streams
from bench.curriculum_parts.intervals import Paired, paired
from bench.curriculum_parts.shape_speed import LAYERS, PROMPT, shape_speeds
from bench.moe_balance import surroundings
from bench.moe_parts.tables import show

BASE, RIVAL, TUNED = "fox-tiny", "fox-tiny-one-stage", "fox-tiny-instruct"
ABLATIONS = ("fox-tiny-shallow", "fox-tiny-vocab-512", "fox-tiny-mha")
PARTS = ("curriculum", "instruct", "ablations", "shapes")
NOT_TESTABLE = (
    "Benchmark scores of the Fox-1 report (GSM8k, MMLU and the like) are not testable here: they need its weights, "
    "1.67 billion parameters trained on 3 trillion tokens. What is measured is the recipe at small size, nothing more."
)


def main(parts: list[str], seeds: list[int], ablations: list[str], out: Path | None) -> None:
    """Prints the tables."""
    torch.set_num_threads(1)
    begun = time.monotonic()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    figures: dict[str, Any] = {}
    if "curriculum" in parts:
        figures["curriculum"] = curriculum(seeds)
        figures["by_length"] = by_length(seeds)
    if "instruct" in parts:
        figures["instruct"] = instruct(seeds)
    if "ablations" in parts:
        figures["ablations"] = ablate(ablations, seeds)
    if "shapes" in parts:
        figures["shapes"] = speeds()
    print(f"\n{NOT_TESTABLE}")
    where["minutes"] = round((time.monotonic() - begun) / 60, 1)
    print(f"{where['minutes']} minutes")
    document = {"bench": "curriculum", **where, "figures": figures}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")
    print(json.dumps(document))


def curriculum(seeds: list[int]) -> dict[str, Any]:
    """Three stages against one, by seed."""
    base, rival = ([held_out(name, seed) for seed in seeds] for name in (BASE, RIVAL))
    rows = [
        [f"seed {seed}", f"{first:.4f}", f"{second:.4f}", f"{first - second:+.4f}"]
        for seed, first, second in zip(seeds, base, rival, strict=True)
    ]
    found = paired(base, rival)
    show(
        f"three stages against one at equal tokens: nats per byte in sequences of {recipe_of(BASE).sequence_length}",
        ["", "three stages", "one stage", "difference"],
        rows,
        f"difference {found.shown()}: {verdict(found, 'the curriculum')}",
    )
    return {"three_stages": base, "one_stage": rival, "difference": found.to_json()}


def by_length(seeds: list[int]) -> dict[str, Any]:
    """The same comparison at each length that either recipe read, on code and on docstrings."""
    # Tokenizers depend on the text alone: one reads for all seeds and both recipes.
    model, text = opened(BASE, seeds[0])
    streams = held_out_streams(load_tokenizer(model), text)
    base, rival = ([held_out_by_length(model_of(name, seed), streams) for seed in seeds] for name in (BASE, RIVAL))
    rows, figures = [], {}
    for key in base[0]:
        first, second = ([each[key] for each in losses] for losses in (base, rival))
        found = paired(first, second)
        domain, length = key
        means = (f"{statistics.fmean(losses):.4f}" for losses in (first, second))
        rows.append([f"{domain}, {length} tokens", *means, found.shown(), verdict(found, "the curriculum")])
        figures[f"{domain}-{length}"] = {"three_stages": first, "one_stage": second, "difference": found.to_json()}
    show(
        "the same by kind of text and length of sequence: nats per byte (one stage was trained on 128 tokens alone)",
        ["", "three stages", "one stage", "difference", ""],
        rows,
    )
    return figures


def instruct(seeds: list[int]) -> dict[str, Any]:
    """What the stage of instructions teaches, and what it costs on plain text."""
    model, text = opened(BASE, seeds[0])
    windows, answered = held_out_instructions(load_tokenizer(model), text)
    before, after = ([answer_nats(model_of(name, seed), windows, answered) for seed in seeds] for name in (BASE, TUNED))
    plain = [held_out(TUNED, seed) - held_out(BASE, seed) for seed in seeds]
    found = paired(after, before)
    rows = [
        [f"seed {seed}", f"{first:.4f}", f"{second:.4f}", f"{cost:+.4f}"]
        for seed, first, second, cost in zip(seeds, before, after, plain, strict=True)
    ]
    show(
        "the instruct stage: nats per token of held-out answers, and what plain text costs more per byte",
        ["", "before", "after", "plain text"],
        rows,
        f"answers {found.shown()}: {verdict(found, 'the instruct stage')}",
    )
    return {"before": before, "after": after, "plain_text_cost": plain, "difference": found.to_json()}


def ablate(names: list[str], seeds: list[int]) -> dict[str, Any]:
    """Depth, vocabulary and grouped queries, each against the one-stage model with as many parameters."""
    base = [held_out(RIVAL, seed) for seed in seeds]
    rows, figures = [], {}
    for name in names:
        found = [held_out(name, seed) for seed in seeds]
        difference = paired(found, base)
        parameters = report(name, seeds[0])["parameters"]
        rows.append([name, f"{parameters}", f"{sum(found) / len(found):.4f}", difference.shown()])
        figures[name] = {"nats_per_byte": found, "parameters": parameters, "difference": difference.to_json()}
    rows.insert(0, [RIVAL, f"{report(RIVAL, seeds[0])['parameters']}", f"{sum(base) / len(base):.4f}", ""])
    show("ablations at equal parameters: nats per byte", ["", "parameters", "mean", "against the first"], rows)
    return figures


def speeds() -> list[dict[str, Any]]:
    """The published shapes in turns, each round beside Fox-1's time."""
    found = shape_speeds()
    rows = []
    for each in found:
        prefill, decode = each.ratios(found[0])
        rows.append(
            [
                each.shape,
                f"{each.parameters / 1e9:.2f} G",
                f"{each.weight_bytes / 2**30:.2f}",
                f"{each.cache_bytes * 4096 / 2**20:.0f}",
                f"{PROMPT / statistics.median(each.prefill_s):.1f}",
                f"{1 / statistics.median(each.decode_s):.2f}",
                spread(prefill),
                spread(decode),
            ]
        )
    show(
        f"shapes, random weights, bfloat16, one thread: a prompt of {PROMPT} tokens, then one at a time; scaled from "
        f"{LAYERS} layers and the head",
        [
            "shape",
            "parameters",
            "weights, GiB",
            "KV of 4,096 tokens, MiB",
            "prefill, tok/CPU s",
            "decode, tok/CPU s",
            "prefill beside Fox-1",
            "decode beside Fox-1",
        ],
        rows,
        "beside Fox-1: times as fast, median [least, most] of rounds that all take in turns.",
    )
    return [each.to_json() for each in found]


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def verdict(found: Paired, what: str) -> str:
    if found.high < 0:
        return f"{what} is better"
    return f"{what} is worse" if found.low > 0 else "undecided"


def held_out(name: str, seed: int) -> float:
    return float(report(name, seed)["held_out"]["nats_per_byte"])


def model_of(name: str, seed: int) -> PreTrainedModel:
    return load_model(opened(name, seed)[0], dtype=torch.float32)


def report(name: str, seed: int) -> dict[str, Any]:
    trained: dict[str, Any] = json.loads((opened(name, seed)[0] / "training.json").read_text())
    return trained


@cache
def opened(name: str, seed: int) -> tuple[Path, Path]:
    """Directories of the model, trained now where the store lacks it, and of its text."""
    artifacts = Config.from_environment().open_artifacts()
    text = text_digest()
    digest = ensure_model(artifacts, recipe_of(name), seed=seed, cancel=CancelToken(), progress=silent, text=text)
    return artifacts.path(digest), artifacts.path(text)


@cache
def text_digest() -> str:
    return ensure_text(Config.from_environment().open_artifacts())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS[:2]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--ablations", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    chosen = parser.parse_args()
    main(chosen.parts, chosen.seeds, chosen.ablations, chosen.out)
    sys.exit(0)
