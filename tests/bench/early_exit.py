"""Early exit on really trained models: who can leave early, what it saves, and whether the promises hold.

    PYTHONPATH=tests python -m bench.early_exit [--models DIR] [--seeds N...] [--out FILE] [--figure FILE]

Trains a family of small models on the interpreter's standard library (dense with 4, 8 and 12 layers, mixture of
experts, Mamba-2; checkpoints along one training; with and without exit losses; base and tuned), about 20 minutes a
seed on one quiet core, kept in --models; then measures all of them on four workloads in one run, in some 15 minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from assay_inference_optimizer.core.early_exit.profile import profile
from assay_inference_optimizer.core.early_exit.rules import Rule
from bench.early_exit_parts.exits import BATCH, ExitRow, claims, measure_exits, print_claims, print_exits
from bench.early_exit_parts.family import FAMILY, VOCABULARY, Trained, train_family
from bench.early_exit_parts.figure import draw
from bench.early_exit_parts.risk import RiskRow, measure_risk, print_risk
from bench.early_exit_parts.speed import (
    IdentityRow,
    SpeedRow,
    measure_identity,
    measure_speed,
    print_identity,
    print_speed,
)
from bench.early_exit_parts.texts import CANCEL, Texts, read_texts
from bench.moe_balance import surroundings
from bench.moe_parts.tables import document

POPULATION, IDENTITY_PROMPTS, SPEED_PROMPTS = 1500, 200, 4
SHORT = 24  # tokens of context where speed is no question
IDENTICAL = ("dense-8-exits", "moe-8", "mamba2-8")
TIMED = ("dense-12-drafts", "dense-12-exits", "dense-12")
CONTROLLED = ("dense-8-exits",)


def main(models: Path, seeds: list[int], out: Path | None, figure: Path | None) -> bool:
    """Prints the tables; says whether every bar was met."""
    torch.set_num_threads(1)
    begun = time.monotonic()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    texts = read_texts(models / "text", VOCABULARY)
    exits: list[ExitRow] = []
    kept: dict[str, Trained] = {}
    for seed in seeds:
        for trained in train_family(FAMILY, texts, seed, models):
            said("measured", trained.name, seed)
            exits += measure_exits(trained, texts, seed)
            if seed == seeds[0]:
                kept[trained.name] = trained
    found_claims = claims(exits)
    identity = [
        measured(measure_identity, kept[name], texts.sample("code", IDENTITY_PROMPTS)[:, :SHORT]) for name in IDENTICAL
    ]
    speed = [row for name in TIMED for row in timed(kept[name], texts)]
    risk = [row for name in CONTROLLED for row in controlled(kept[name], texts)]
    print_exits(exits)
    print_claims(found_claims)
    bars = {
        "identical_met": print_identity(identity),
        "speed_met": print_speed(speed, ("dense-12-drafts", "dense-12-exits")),
        "risk_met": print_risk(risk),
    }
    if figure is not None:
        draw(exits, figure)
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{minutes:.1f} minutes")
    where["minutes"] = round(minutes, 1)
    if out is not None:
        raw: dict[str, Any] = {
            "bench": "early_exit", **where, **bars, "exits": exits, "claims": found_claims, "identity": identity,
            "speed": speed, "risk": risk,
        }  # fmt: skip
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document(raw), sort_keys=True, separators=(",", ":")) + "\n")
    print(json.dumps(document({"bench": "early_exit", **where, **bars})))
    return all(bars.values())


def measured(measure: Any, trained: Trained, prompts: torch.Tensor) -> IdentityRow:
    said("decoded", trained.name)
    row: IdentityRow = measure(trained, prompts)
    return row


def timed(trained: Trained, texts: Texts) -> list[SpeedRow]:
    """Exits in the first half: beyond it, drafting costs most of a pass."""
    said("timed", trained.name)
    depth = int(trained.model.config.num_hidden_layers)
    prompts = texts.sample("code", SPEED_PROMPTS)
    return measure_speed(trained, prompts, list(range(1, depth // 2 + 1)))


def controlled(trained: Trained, texts: Texts) -> list[RiskRow]:
    said("calibrated", trained.name)
    windows = texts.sample("code", POPULATION)
    population = profile(trained.model, windows.split(BATCH), skip=texts.skips["code"], cancel=CANCEL)
    return measure_risk(trained.name, "code", population, Rule.MAX_PROBABILITY)


def said(what: str, *names: object) -> None:
    print(what, *names, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a folder that keeps text and models for the next run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--figure", type=Path, help="draw the figure there, as PNG")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where_kept = chosen.models or Path(folder)
        sys.exit(0 if main(where_kept, chosen.seeds, chosen.out, chosen.figure) else 1)
