"""Parameters sensitive to theory of mind on two small models that really answer the tasks; one line a claim.

    PYTHONPATH=tests python -m bench.sensitivity [--out FILE]

A model with rotary position encoding and its twin without any are trained on drawn task texts and the standard
library (kept in the store that ASSAY_STORE names), and examined on fixed templates that they never saw. Masks: top m
of each matrix by gradient squares over theory-of-mind texts, without the top m over general text. Controls have as
many weights of each matrix. Intervals are 95 %, over templates. With trained models there, minutes on one core.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.config import Config
from assay.zoo.store import ensure_text
from assay_tom_verifier.core.sensitivity.evaluate import task_scores
from assay_tom_verifier.core.sensitivity.subject import SUBJECTS
from bench.moe_parts.tables import document, show
from bench.sensitivity_parts import claims, published, rotation
from bench.sensitivity_parts.masks import FALSE_BELIEF, KINDS, Run, run_masks
from bench.sensitivity_parts.surroundings import surroundings
from bench.sensitivity_parts.trained import open_subject

SHARES = (3e-4, 3e-3, 1e-2, 3e-2)
# The twin is asked one question: does it drop, beside random weights?
TWIN_KINDS = ("tom", "random")
TASKS = (
    ("false belief", FALSE_BELIEF),
    ("irony", ("irony",)),
    ("localisation", ("localisation",)),
    ("language", ("language",)),
)


def main(shares: Sequence[float], seeds: Sequence[int], out: Path | None, checkpoints: Path | None) -> None:
    torch.set_num_threads(1)
    begun = time.process_time()
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    artifacts = Config.from_environment().open_artifacts()
    text = ensure_text(artifacts)
    subject, other = (
        open_subject(artifacts, SUBJECTS[name], 0, text, checkpoints) for name in ("tom-rope", "tom-nope")
    )
    run = run_masks(subject, shares, seeds, KINDS)
    if not run.shares:
        raise SystemExit("no share masks 50 weights; give larger ones with --shares")
    print_before(run)
    print_masks(run, KINDS)
    share = judged_share(run)
    twin = run_masks(other, run.shares, seeds, TWIN_KINDS)
    print_before(twin)
    print_masks(twin, TWIN_KINDS)
    turned = rotation.run_rotation(run, share)
    show(
        f"rotary encoding at {100 * share:g} %: change under the mask and under random weights, mean [least, most]",
        ["figure", "mask", "random", "mask larger"],
        rotation.rows(turned),
        f"before: attention to the first token {turned.before.first_attention.mean():.3f}, dominant query pairs "
        f"{turned.before.dominant.tolist()} of {len(turned.before.frequencies)}, the fastest being 0",
    )
    defects = published.run_published(run, share)
    print_published(defects, share)
    found = claims.judged(run, share, turned, twin, share if share in twin.shares else None)
    show("claims", ["claim", "", "why"], [[each.claim, each.word, each.why] for each in found])
    where["cpu_minutes"] = round((time.process_time() - begun) / 60, 1)
    print(f"\n{where['cpu_minutes']} minutes of one core")
    if out is not None:
        figures = {"rope": figures_of(run), "twin": figures_of(twin)}
        raw: dict[str, Any] = {"bench": "sensitivity", "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
        raw |= {**where, **figures, "judged_at": share, "rotation": turned, "published": defects, "claims": found}
        out.write_text(json.dumps(document(raw), sort_keys=True) + "\n")


def judged_share(run: Run) -> float:
    """The smallest share at which the false-belief tasks drop, interval below zero; the largest where none does."""
    return next((share for share in run.shares if run.drop(share, "tom", FALSE_BELIEF).high < 0), run.shares[-1])


def print_before(run: Run) -> None:
    scores = [task_scores(each.items, each.before.answers) for each in run.seeds]
    rows = [[task, f"{100 * np.mean([each[task] for each in scores]):.1f}"] for task in scores[0]]
    show(
        f"{run.subject.recipe.name}: {run.subject.parameters} parameters, trained in {run.subject.seconds:.0f} s; "
        "cells passed before anything is perturbed, %",
        ["task", "passed"],
        rows,
        f"perplexity of general text {run.seeds[0].before.perplexity:.2f}",
        run.standings[0].shown(),
    )


def print_masks(run: Run, kinds: Sequence[str]) -> None:
    rows = []
    for share in run.shares:
        least, most = run.masked(share)
        for kind in kinds:
            cells = [f"{100 * share:g}", f"{least}-{most}", kind]
            cells += [points(run.drop(share, kind, tasks)) for _, tasks in TASKS]
            nats = run.nats(share, kind)
            rows.append([*cells, f"{np.exp(nats.mean):.3f} [{np.exp(nats.low):.3f}, {np.exp(nats.high):.3f}]"])
    head = ["share, %", "weights", "mask", *(name for name, _ in TASKS), "perplexity x"]
    show(f"{run.subject.recipe.name}: change of cells passed, points; {len(run.seeds)} seeds", head, rows)


def print_published(found: published.Published, share: float) -> None:
    show(
        f"the published code's defects at {100 * share:g} %",
        ["figure", "value"],
        [
            ["weights whose general-text squares float16 holds as 0, %", f"{100 * found.lost:.1f}"],
            ["weights in its mask", f"{found.masked}"],
            ["weights in ours", f"{found.exact_masked}"],
            ["in both", f"{found.common}"],
            ["false-belief cells passed before, %", f"{100 * found.before:.1f}"],
            ["under its mask, %", f"{100 * found.after:.1f}"],
            ["under ours, %", f"{100 * found.exact_after:.1f}"],
        ],
    )


def figures_of(run: Run) -> dict[str, Any]:
    kinds = sorted({kind for _, kind in run.seeds[0].after})
    return {
        "parameters": run.subject.parameters,
        "training_s": run.subject.seconds,
        "perplexity": [each.before.perplexity for each in run.seeds],
        "before": [task_scores(each.items, each.before.answers) for each in run.seeds],
        "masked": {share: run.masked(share) for share in run.shares},
        "change": {
            f"{share:g} {kind}": {name: run.drop(share, kind, tasks) for name, tasks in TASKS}
            | {"nats": run.nats(share, kind)}
            for share in run.shares
            for kind in kinds
        },
        "against": {
            f"{share:g} tom - {rival}": {name: run.drop(share, "tom", tasks, rival) for name, tasks in TASKS}
            for share in run.shares
            for rival in kinds
            if rival != "tom"
        },
    }


def points(found: Any) -> str:
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--checkpoints", type=Path, help="where an interrupted training leaves its state")
    chosen = parser.parse_args()
    sys.exit(main(sorted(chosen.shares), chosen.seeds, chosen.out, chosen.checkpoints))
