"""Early exit on really trained models: who can leave early, what it saves, and whether the promises hold.

    PYTHONPATH=tests python -m bench.early_exit [--models DIR] [--parts PART...] [--out FILE] [--figure FILE]

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
from collections.abc import Iterator
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

PARTS = ("exits", "identity", "speed", "risk")
POPULATION, IDENTITY_PROMPTS, SPEED_PROMPTS = 1500, 200, 4
SHORT = 24  # tokens of context where speed is no question
IDENTICAL = ("dense-8-exits", "moe-8", "mamba2-8")
TIMED = ("dense-12-drafts", "dense-12-exits", "dense-12")
CONTROLLED = ("dense-8-exits", "dense-12-exits")
RULES = (Rule.MAX_PROBABILITY, Rule.MARGIN, Rule.ENTROPY)


def main(models: Path, parts: list[str], seeds: list[int], out: Path | None, figure: Path | None) -> bool:
    """Prints the tables of these parts; says whether every bar among them was met."""
    torch.set_num_threads(1)
    begun = time.monotonic()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    texts = read_texts(models / "text", VOCABULARY)
    found: dict[str, Any] = {}
    bars: dict[str, bool] = {}
    if "exits" in parts:
        found["exits"] = [row for seed in seeds for row in exits_of(texts, seed, models)]
        found["claims"] = claims(found["exits"])
        print_exits(found["exits"])
        print_claims(found["claims"])
        if figure is not None:
            draw(found["exits"], figure)
    if "identity" in parts:
        found["identity"] = [measured(trained, texts) for trained in members(IDENTICAL, texts, models)]
        bars["identical_met"] = print_identity(found["identity"])
    if "speed" in parts:
        found["speed"] = [row for trained in members(TIMED, texts, models) for row in timed(trained, texts)]
        bars["speed_met"] = print_speed(found["speed"], TIMED[:2])
    if "risk" in parts:
        found["risk"] = [row for trained in members(CONTROLLED, texts, models) for row in controlled(trained, texts)]
        bars["risk_met"] = print_risk(found["risk"])
    where["minutes"] = round((time.monotonic() - begun) / 60, 1)
    print(f"\n{where['minutes']} minutes")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        raw = document({"bench": "early_exit", **where, **bars, **found})
        out.write_text(json.dumps(raw, sort_keys=True, separators=(",", ":")) + "\n")
    print(json.dumps(document({"bench": "early_exit", **where, **bars})))
    return all(bars.values())


def exits_of(texts: Texts, seed: int, models: Path) -> list[ExitRow]:
    rows = []
    for trained in train_family(FAMILY, texts, seed, models):
        said("measured", trained.name, seed)
        rows += measure_exits(trained, texts, seed)
    return rows


def members(names: tuple[str, ...], texts: Texts, models: Path) -> Iterator[Trained]:
    """The first seed's, with those they were tuned from."""
    by_name = {member.name: member for member in FAMILY}
    wanted = [name for name in by_name if name in {*names, *(by_name[each].tuned_from for each in names)}]
    family = tuple(by_name[name] for name in wanted)
    found = {trained.name: trained for trained in train_family(family, texts, 0, models)}
    yield from (found[name] for name in names)


def measured(trained: Trained, texts: Texts) -> IdentityRow:
    said("decoded", trained.name)
    return measure_identity(trained, texts.sample("code", IDENTITY_PROMPTS)[:, :SHORT])


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
    return [row for rule in RULES for row in measure_risk(trained.name, "code", population, rule)]


def said(what: str, *names: object) -> None:
    print(what, *names, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a folder that keeps text and models for the next run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--figure", type=Path, help="draw the figure there, as PNG")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where_kept = chosen.models or Path(folder)
        sys.exit(0 if main(where_kept, chosen.parts, chosen.seeds, chosen.out, chosen.figure) else 1)
