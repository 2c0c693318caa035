"""Does sparse attention still find what a question needs? Recall over one hop and over two, at equal density.

    PYTHONPATH=tests python -m bench.recall [--recipe NAME] [--seeds N...] [--questions N] [--densities D...]
        [--decode-questions N] [--workers N]

Models are the zoo's `recall`, where a pair and a question are two tokens in a block of noise each, or
`recall-passages`, where both are as long as a block; from the store that ASSAY_STORE names, and a seed it lacks is
trained first, in minutes.
Densities are attended over causal pairs, counted from the chosen blocks and averaged over all layers. One thread a
model; --workers says how many models at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.config import Config
from assay.models.checkpoint import load_model
from assay.progress import silent
from assay.zoo.recall_task import RecallQuestions, recall_questions
from assay.zoo.recipes import recipe as recipe_of
from assay.zoo.store import ensure_model, ensure_text
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig
from bench.moe_parts.tables import show, verdict
from bench.recall_parts.answers import Answers, Mode, answers
from bench.recall_parts.kept import difference, kept

PER_CONTEXT = 16
METHODS = (Method.SKETCH_WALK, Method.ONE_HOP, Method.ORACLE, Method.SINK_WINDOW, Method.RANDOM)
# Blocks of 16: of the smallest the kernels know, 1024 tokens have 64.
BASE = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, dense_layers=0)
BAR_DENSITY = 0.2
BAR_KEPT, FLOOR_KEPT = 0.99, 0.40
Runs = dict[str, list[Answers]]


def main(
    recipe: str,
    seeds: list[int],
    count: int,
    decoded: int,
    densities: list[float],
    out: Path | None,
    workers: int,
) -> bool:
    """Prints the tables; says whether every bar was met."""
    begun = time.monotonic()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    hops: list[Any] = []
    runs: Runs = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        each_seed = [(recipe, seed, count, decoded, densities) for seed in seeds]
        measured = pool.map(measure, *zip(*each_seed, strict=True))
        for line, asked, found in measured:
            print(line)
            hops.append(asked)
            for name, each in found.items():
                runs.setdefault(name, []).append(each)
    figures = {mode: tables(runs, hops, densities, mode) for mode in ("prefill", "decode")}
    minutes = (time.monotonic() - begun) / 60
    print(
        f"\n{minutes:.1f} minutes, {len(seeds)} models, {count} questions each, {decoded} token by token, "
        f"{PER_CONTEXT} on a context"
    )
    document = {
        "bench": "recall",
        "recipe": recipe,
        **where,
        "minutes": round(minutes, 1),
        "questions": {"prefill": count, "decode": decoded},
        "figures": figures,
    }
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")
    bars = {mode: each["bars"] for mode, each in figures.items()}
    print(json.dumps({"bench": "recall", "recipe": recipe, **where, "bars": bars}))
    return all(met for each in bars.values() for met in each.values())


def measure(
    recipe: str, seed: int, count: int, decoded: int, densities: list[float]
) -> tuple[str, NDArray[np.int64], dict[str, Answers]]:
    """Of one model: a line about its training, the hops of its questions, and its answers in every setting.

    decoded: so many of the questions, the first ones, are asked token by token.
    """
    torch.set_num_threads(1)
    model, trained, line = model_of(recipe, seed)
    tokens, pairs = trained["held_out"]["tokens"], trained["held_out"]["pairs"]
    restated = recipe_of(recipe).stages[-1].restated
    asked = recall_questions(count, pairs, tokens, 10**9 + seed, per_context=PER_CONTEXT, restated=restated)
    found: dict[str, Answers] = {}
    for name, sparse, mode in settings(densities, model.config.head_dim):
        questions = asked if mode == "prefill" else first(asked, decoded)
        found[name] = answers(model, questions, PER_CONTEXT, sparse, mode)
        right, density = found[name].right.mean(), found[name].density
        print(f"seed {seed}  {name}: {right:.3f} at {density:.3f}", file=sys.stderr, flush=True)
    return line, asked.hops.numpy(), found


def first(asked: RecallQuestions, count: int) -> RecallQuestions:
    return replace(
        asked,
        prompts=asked.prompts[:count],
        answers=asked.answers[:count],
        hops=asked.hops[:count],
        needed=asked.needed[:count],
    )


def settings(densities: list[float], head_dim: int) -> list[tuple[str, SparseConfig, Mode]]:
    """(name, sparse, mode) of everything that is run on a model."""
    found: list[tuple[str, SparseConfig, Mode]] = []
    for mode in ("prefill", "decode"):
        found.append((f"{mode} dense", replace(BASE, method=Method.DENSE), mode))
        for density in densities if mode == "prefill" else [BAR_DENSITY]:
            for method in METHODS:
                sparse = replace(BASE, method=method, target_density=density)
                found.append((f"{mode} {method.value} {density:g}", sparse, mode))
                if method is Method.SKETCH_WALK or (method is Method.ONE_HOP and density == BAR_DENSITY):
                    quarter = replace(sparse, sketch_dim=head_dim // 4)
                    found.append((f"{mode} {method.value} {density:g} r=d/4", quarter, mode))
        default = replace(BASE, dense_layers=SparseConfig().dense_layers, target_density=BAR_DENSITY)
        found.append((f"{mode} sketch_walk {BAR_DENSITY:g} default dense_layers", default, mode))
    return found


def tables(runs: Runs, hops: list[Any], densities: list[float], mode: str) -> dict[str, Any]:
    """One table of a mode; returns its figures, and which bars they met."""
    dense = runs[f"{mode} dense"]
    rows, figures = [], {}
    for name, found in runs.items():
        if not name.startswith(mode):
            continue
        row: list[str] = [name.removeprefix(mode).strip(), f"{np.mean([each.density for each in found]):.3f}"]
        for wanted in (1, 2):
            chosen, against = (of_hops(each, hops, wanted) for each in (found, dense))
            share = kept(chosen, against, PER_CONTEXT // 2)
            row += [f"{share.recall:.3f}", share.shown()]
            figures[f"{name} {wanted}-hop"] = {
                **dataclasses.asdict(share),
                "density": float(np.mean([each.density for each in found])),
                "per_seed": [float(each.mean()) for each in chosen],
            }
        rows.append(row)
    remarks = []
    for density in densities if mode == "prefill" else [BAR_DENSITY]:
        for wanted in (1, 2):
            walk, one_hop = (of_hops(runs[f"{mode} {m} {density:g}"], hops, wanted) for m in ("sketch_walk", "one_hop"))
            points, low, high = difference(walk, one_hop, PER_CONTEXT // 2)
            says = "better" if low > 0 else "worse" if high < 0 else "undecided"
            remarks.append(
                f"{density:g}, {wanted}-hop questions: walk against one-hop {points:+.1f} points "
                f"[{low:+.1f}, {high:+.1f}]: {says}"
            )
            figures[f"{mode} walk - one_hop {density:g} {wanted}-hop"] = {"points": points, "low": low, "high": high}
    bars, lines = judged(figures, mode)
    head = ["method, density asked", "density", "1 hop", "kept, % of dense", "2 hops", "kept, % of dense"]
    show(f"{mode}: share of questions answered; density counted over all layers", head, rows, *remarks, *lines)
    return {"figures": figures, "bars": bars}


def judged(figures: dict[str, Any], mode: str) -> tuple[dict[str, bool], list[str]]:
    """Bars by name, and the lines that say so."""
    floors = [f"{mode} {method} {BAR_DENSITY:g} 1-hop" for method in ("sink_window", "random")]
    shares = [figures[name]["share"] for name in floors]
    valid = max(shares) <= FLOOR_KEPT
    bars = {"valid": valid}
    lines = [
        f"valid, for sink_window and random keep at most {100 * FLOOR_KEPT:.0f} %: {verdict(valid)} "
        f"({', '.join(f'{100 * share:.1f}' for share in shares)})"
    ]
    for sketch in ("", " r=d/4"):
        found = figures[f"{mode} sketch_walk {BAR_DENSITY:g}{sketch} 1-hop"]
        met = found["share"] >= BAR_KEPT
        name = f"kept{sketch or ' r=d'}"
        bars[name] = met
        lines.append(f"sketch_walk{sketch or ' r=d'} keeps {100 * BAR_KEPT:.0f} % at {BAR_DENSITY:g}: {verdict(met)}")
    return bars, lines


def of_hops(found: list[Answers], hops: list[Any], wanted: int) -> list[Any]:
    """Answers to the questions over `wanted` hops, by model; of each context as many."""
    return [each.right[of[: len(each.right)] == wanted] for each, of in zip(found, hops, strict=True)]


def model_of(recipe: str, seed: int) -> tuple[PreTrainedModel, dict[str, Any], str]:
    """The zoo's model in float32, how it was trained, and that in a line."""
    artifacts = Config.from_environment().open_artifacts()
    digest = ensure_model(
        artifacts,
        recipe_of(recipe),
        seed=seed,
        cancel=CancelToken(),
        progress=silent,
        text=ensure_text(artifacts),
    )
    directory = artifacts.path(digest)
    trained: dict[str, Any] = json.loads((directory / "training.json").read_text())
    found = trained["held_out"]
    line = (
        f"{recipe}, seed {seed}: {trained['parameters']} parameters, trained in {trained['seconds']:.0f} s; dense "
        f"recall {found['accuracy_one_hop']:.3f} over one hop, {found['accuracy_two_hops']:.3f} over two"
    )
    return load_model(directory, dtype=torch.float32), trained, line


def surroundings() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "transformers", "numpy")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=("recall", "recall-passages"), default="recall")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--questions", type=int, default=2000, help=f"of each model, a multiple of {PER_CONTEXT}")
    parser.add_argument("--decode-questions", type=int, help="so many of them token by token; all where not given")
    parser.add_argument("--densities", nargs="+", type=float, default=[0.05, 0.1, 0.15, 0.2])
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="models at a time, a process each")
    chosen = parser.parse_args()
    if BAR_DENSITY not in chosen.densities:
        parser.error(f"--densities need {BAR_DENSITY:g}, at which the bars are")
    passed = main(
        chosen.recipe,
        chosen.seeds,
        chosen.questions,
        chosen.decode_questions or chosen.questions,
        chosen.densities,
        chosen.out,
        chosen.workers,
    )
    sys.exit(0 if passed else 1)
