"""Planning again from the last window of traffic against one plan for ever, when the traffic's domain drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay_moe_router.core.replan import replan
from assay_moe_router.core.statistics import Floats
from bench.moe_parts.intervals import Interval, of_mean
from bench.moe_parts.subject import TOKENS, Subject, rows_of, spread
from bench.moe_parts.tables import show

WINDOWS = (8, 32, 64)
FROM, TO = "docstring", "code"


@dataclass(frozen=True)
class DriftRow:
    """lis_logical of each window from the second on, mean over layers: without a plan, with one made on equal parts of
    both domains, with one made on the domain the traffic begins with, and with one made on the window before.
    """

    recipe: str
    seed: int
    traffic: str
    window: int
    unplanned: Floats
    mixed: Floats
    first_domain: Floats
    last_window: Floats


def orders(domains: Sequence[str], seed: int = 0) -> dict[str, list[int]]:
    """Sequences of two domains, as many of each, in four orders; the same ones in all."""
    random = np.random.default_rng(seed)
    begin, end = both_domains(domains)
    count = len(begin)
    one, other = random.permutation(begin).tolist(), random.permutation(end).tolist()
    # A sequence of the second domain comes at a place drawn with odds that rise linearly, one of the first with odds
    # that fall: the share of the second rises from none to all.
    places = np.concatenate([1 - np.sqrt(random.random(count)), np.sqrt(random.random(count))])
    fading = np.array([*one, *other])[np.argsort(places)].tolist()
    return {
        f"{FROM}, then {TO}": [*one, *other],
        f"{FROM} fading into {TO}": fading,
        "the same, shuffled": random.permutation([*one, *other]).tolist(),
        "the same, file by file": sorted([*one, *other]),
    }


def both_domains(domains: Sequence[str]) -> tuple[list[int], list[int]]:
    """Positions of sequences of either domain, as many of each, spread evenly over its own."""
    begin, end = ([row for row, domain in enumerate(domains) if domain == name] for name in (FROM, TO))
    count = min(len(begin), len(end))
    begin, end = ([rows[i] for i in spread(len(rows), count)] for rows in (begin, end))
    return begin, end


def measure_drift(subject: Subject) -> list[DriftRow]:
    begin, end = both_domains(subject.reservoir_domains)
    calibrations = (rows_of(subject.reservoir, [*begin, *end]), rows_of(subject.reservoir, begin))
    rows = []
    for name, order in orders(subject.traffic_domains).items():
        traffic = rows_of(subject.traffic, order)
        for window in WINDOWS:
            mixed, first = (
                replan(
                    subject.digest,
                    calibration,
                    traffic,
                    subject.importance,
                    subject.expert_bytes,
                    window_sequences=window,
                )
                for calibration in calibrations
            )
            rows.append(
                DriftRow(
                    subject.recipe,
                    subject.seed,
                    name,
                    window,
                    mixed.unbalanced,
                    mixed.static,
                    first.static,
                    mixed.dynamic,
                )
            )
    return rows


def print_drift(rows: Sequence[DriftRow]) -> dict[str, object]:
    lines, summary = [], {}
    for recipe, traffic, window in dict.fromkeys((row.recipe, row.traffic, row.window) for row in rows):
        group = [row for row in rows if (row.recipe, row.traffic, row.window) == (recipe, traffic, window)]
        unplanned, mixed, first, last = (
            np.mean([getattr(row, name) for row in group], axis=0)
            for name in ("unplanned", "mixed", "first_domain", "last_window")
        )
        changes = {
            "no plan": of_mean(last - unplanned),
            "both": of_mean(last - mixed),
            FROM: of_mean(last - first),
        }
        lines.append(
            [
                recipe,
                traffic,
                window,
                len(last),
                *(f"{values.mean():.2f}" for values in (unplanned, mixed, first, last)),
                *(_marked(change) for change in changes.values()),
            ]
        )
        summary[f"{recipe}, {traffic}, {window}"] = changes
    show(
        "5. Planning again from the last window against static plans, target-lis: mean lis_logical of the windows from "
        f"the second on (windows of n sequences of {TOKENS} tokens; seeds averaged; tokens spread evenly over slots)",
        ["model", "traffic", "n", "windows", "no plan", "static, both", f"static, {FROM}", "last window",
         "minus no plan", "minus static, both", f"minus static, {FROM}"],
        lines,
        f"static, both: planned on the calibration split's {FROM}s and as much of its {TO}; static, {FROM}: on the "
        f"{FROM}s alone. Lower is better; negative: planning again is better.",
        "[95 % bootstrap over windows], * excludes zero. Neighbouring windows are not independent, so that intervals "
        "are somewhat narrow; the more so file by file.",
    )  # fmt: skip
    return summary


def _marked(change: Interval) -> str:
    return change.shown(2) + ("*" if change.excludes_zero() else " ")
