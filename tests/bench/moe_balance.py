"""moe-router on really trained models: balance, quality, importance, calibration, drift, hook; one table a claim.

    PYTHONPATH=tests python -m bench.moe_balance [--recipes NAME...] [--seeds N...] [--out FILE]

Models come from the store that ASSAY_STORE names; those it lacks are trained first, some four minutes each. With
them there, twelve models take under 20 minutes on two cores: a process for each, one thread in each. Text is the
interpreter's standard library, split by file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from assay.config import Config
from assay.zoo.store import ensure_text
from bench.moe_parts import balance, batch_size, calibration_size, drift, foreign_counts, hook, importance
from bench.moe_parts.model_run import ModelRun, run_model, train_model
from bench.moe_parts.tables import document

RECIPES = ("qwen3-moe-tiny", "qwen3-moe-tiny-aux", "deepseek-moe-tiny", "switch-tiny")
# Figures that have a bar; the others are in the file that --out names.
BARRED = ("all_bars_met", "hook_equal", "hook_overhead", "balance", "importance", "foreign_counts")
PACKAGES = ("torch", "transformers", "numpy", "scipy")


def main(recipes: list[str], seeds: list[int], out: Path | None, workers: int) -> bool:
    """Prints the tables; says whether every bar was met."""
    torch.set_num_threads(1)
    begun = time.monotonic()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    text = ensure_text(Config.from_environment().open_artifacts())
    pairs = [(recipe, seed) for recipe in recipes for seed in seeds]
    # A process of its own for each model, so that none inherits another's hooks or memory.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        each(pool, train_model, pairs, text, "found")
        # Timed while nothing else of this program runs.
        equality = hook.measure_equality(recipes, seeds[0], text)
        overhead = hook.measure_overhead(recipes[0], seeds[0], text)
        runs: list[ModelRun] = each(pool, run_model, pairs, text, "measured")
    bars = print_tables(runs, equality, overhead)
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{minutes:.1f} minutes, {workers} processes")
    where["minutes"] = round(minutes, 1)
    if out is not None:
        raw = {"bench": "moe_balance", **where, **bars, "equality": equality, "overhead": overhead, "runs": runs}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document(raw), sort_keys=True, separators=(",", ":")) + "\n")
    print(json.dumps(document({"bench": "moe_balance", **where, **{name: bars[name] for name in BARRED}})))
    return bool(bars["all_bars_met"])


def each(
    pool: ProcessPoolExecutor, work: Callable[..., Any], pairs: list[tuple[str, int]], text: str, done: str
) -> list[Any]:
    """Results in the order of `pairs`; progress on standard error."""
    futures = {pool.submit(work, recipe, seed, text): (recipe, seed) for recipe, seed in pairs}
    for number, future in enumerate(as_completed(futures), 1):
        future.result()
        recipe, seed = futures[future]
        print(f"{done} {recipe}, seed {seed} ({number}/{len(pairs)})", file=sys.stderr, flush=True)
    return [future.result() for future in futures]


def print_tables(
    runs: list[ModelRun], equality: list[hook.EqualityRow], overhead: list[hook.OverheadRow]
) -> dict[str, Any]:
    """Every table; returns the figures that have a bar, and what claims came to."""
    rows = [row for run in runs for row in run.balance]
    bars: dict[str, Any] = {"hook_equal": hook.print_equality(equality), "hook_overhead": hook.print_overhead(overhead)}
    balance.print_layers(rows)
    bars["balance"] = balance.print_policies(rows)
    balance.print_bars(rows, bars["balance"])
    balance.print_cloze([run.cloze for run in runs])
    if capacity := [row for run in runs for row in run.capacity]:
        balance.print_capacity(capacity)
    bars["batch_size"] = batch_size.print_batch_size([row for run in runs for row in run.batch_size])
    bars["agreement"] = importance.print_agreement([row for run in runs for row in run.agreement])
    bars["importance"] = importance.print_damage([run.damage for run in runs])
    calibration_size.print_stability([row for run in runs for row in run.stability])
    bars["calibration_size"] = calibration_size.print_plan_size([row for run in runs for row in run.plan_size])
    bars["drift"] = drift.print_drift([row for run in runs for row in run.drift])
    bars["foreign_counts"] = foreign_counts.print_foreign_counts()
    held = [*bars["balance"].values(), *bars["importance"].values()]
    bars["all_bars_met"] = all(
        [
            bars["hook_equal"],
            bars["foreign_counts"].get("agree", True),
            *(met for found in held for name, met in found.items() if name.endswith("_met") and met is not None),
        ]
    )
    return bars


def surroundings() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "commit": commit.stdout.strip() or "unknown",
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    sys.exit(0 if main(chosen.recipes, chosen.seeds, chosen.out, chosen.workers) else 1)
