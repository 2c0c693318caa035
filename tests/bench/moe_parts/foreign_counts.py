"""Routing that another program measured on another model, as a cross-check; shipped with the platform's data.

A byte model of Qwen3-MoE's shape (2 layers, 16 experts, top-2, no balancing loss) on English, arithmetic and code.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay_moe_router.core.importance import Importance, LayerScores, Metric
from assay_moe_router.core.null import BatchPoint, batch_points
from assay_moe_router.core.plan import LayerPlan
from assay_moe_router.core.replicate_quantize import ExpertBytes, Policy, plan_replicate_quantize
from assay_moe_router.core.stability import rank_agreement
from assay_moe_router.core.statistics import Ints, LayerRouting, RoutingStatistics
from bench.moe_parts.tables import show

REPOSITORY = Path(__file__).resolve().parents[3]
COUNTS, TRACE = "measured_counts_16e_top2.json", "routing_trace_16e_top2.csv"
EXPERTS, TOP_K, LAYERS, TOKENS = 16, 2, 2, 128
REPLICAS = (1, 4, 8)
EXPERT_BYTES = 24_576
# What the program that measured them reported, layer by layer.
REPORTED: dict[str, tuple[float, float]] = {
    "lis test": (2.99, 6.64),
    "ratio, 1 replica": (1.35, 2.00),
    "ratio, 4 replicas": (1.87, 2.86),
    "ratio, 8 replicas": (2.69, 5.00),
    "Pearson of loads, calibration and test": (0.985, 0.996),
    "Spearman of frequency and importance": (0.93, 0.87),
}


@dataclass(frozen=True)
class ForeignCounts:
    """calibration, test: [LAYERS, EXPERTS] tokens; importance: rise in nats per byte without the expert."""

    calibration: Ints
    test: Ints
    importance: np.ndarray


def data_file(name: str) -> Path | None:
    """A file of this service's data below ASSAY_DATA (default ../shared/data), or None."""
    path = Path(os.environ.get("ASSAY_DATA", REPOSITORY / "../shared/data")) / "moe-router" / name
    return path.resolve() if path.is_file() else None


def read_counts(path: Path) -> ForeignCounts:
    document = json.loads(path.read_text())
    return ForeignCounts(*(np.array(document[name]) for name in ("cal", "test", "imp")))


def read_trace(path: Path, split: str) -> RoutingStatistics:
    """The sequences of one split, in the file's order."""
    with path.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    layers = []
    for layer in range(LAYERS):
        chosen = [[int(row[f"L{layer}_e{k}"]) for k in range(TOP_K)] for row in rows]
        layers.append(routing(layer, np.array(chosen, dtype=np.int32).reshape(-1, TOKENS, TOP_K)))
    return RoutingStatistics(tuple(layers))


def routing(layer: int, choices: np.ndarray) -> LayerRouting:
    zeros = np.zeros(EXPERTS)
    return LayerRouting.from_choices(
        layer, EXPERTS, choices, weight_sums=zeros, dropped=zeros.astype(np.int64), masked_tokens=0
    )


def with_loads(loads: Ints) -> RoutingStatistics:
    """Statistics whose totals are `loads` [LAYERS, EXPERTS]: one sequence, one choice a token."""
    return RoutingStatistics(
        tuple(
            routing(layer, np.repeat(np.arange(EXPERTS, dtype=np.int32), row).reshape(1, -1, 1))
            for layer, row in enumerate(loads)
        )
    )


def with_replicas(counts: ForeignCounts, replicas: int) -> tuple[LayerPlan, ...]:
    """Plans of exactly so many exact replicas a layer, made on the calibration counts."""
    found = plan_replicate_quantize(
        "foreign",
        with_loads(counts.calibration),
        Importance(
            Metric.LEAVE_ONE_OUT_LOSS,
            tuple(LayerScores(i, tuple(range(EXPERTS)), row) for i, row in enumerate(counts.importance)),
        ),
        dict.fromkeys(range(LAYERS), ExpertBytes(EXPERT_BYTES, {8: EXPERT_BYTES, 4: EXPERT_BYTES})),
        policy=Policy.BYTES,
        exact=True,
        budget_bytes=LAYERS * (EXPERTS + replicas) * EXPERT_BYTES,
    )
    assert all(layer.replicas == replicas for layer in found.layers)
    return found.layers


def figures(counts: ForeignCounts) -> dict[str, tuple[float, ...]]:
    """REPORTED, measured anew."""
    plans = {replicas: with_replicas(counts, replicas) for replicas in REPLICAS}
    balances = {r: [plan.balance(row) for plan, row in zip(plans[r], counts.test, strict=True)] for r in REPLICAS}
    return {
        "lis test": tuple(balance.before for balance in balances[1]),
        **{
            f"ratio, {r} replica{'s' if r > 1 else ''}": tuple(balance.ratio for balance in balances[r])
            for r in REPLICAS
        },
        "Pearson of loads, calibration and test": tuple(
            float(np.corrcoef(one, other)[0, 1]) for one, other in zip(counts.calibration, counts.test, strict=True)
        ),
        "Spearman of frequency and importance": tuple(
            rank_agreement(one.astype(np.float64), other)
            for one, other in zip(counts.calibration, counts.importance, strict=True)
        ),
    }


def print_foreign_counts() -> dict[str, Any]:
    counts_file, trace_file = data_file(COUNTS), data_file(TRACE)
    if counts_file is None or trace_file is None:
        print(f"\n6. Foreign counts: skipped, {COUNTS} or {TRACE} is not in moe-router/ below ASSAY_DATA")
        return {"skipped": True}
    found = figures(read_counts(counts_file))
    show(
        "6a. Cross-check with counts that another program measured (16 experts, top-2; planned on its calibration "
        "counts, scored on its test counts)",
        ["figure", *(f"layer {layer}, {kind}" for layer in range(LAYERS) for kind in ("reported", "here")), "agree"],
        [
            [
                name,
                *(f"{value:.3f}" for pair in zip(REPORTED[name], values, strict=True) for value in pair),
                "yes" if agree(name, values) else "NO",
            ]
            for name, values in found.items()
        ],
    )
    points = {layer.layer: batch_points(layer, (1, 4, 16, 64)) for layer in read_trace(trace_file, "test").layers}
    _print_trace(points)
    return {"figures": found, "agree": all(agree(name, values) for name, values in found.items())}


def agree(name: str, values: Sequence[float]) -> bool:
    """To the digits that were reported."""
    digits = 3 if name.startswith("Pearson") else 2
    return all(round(here, digits) == there for there, here in zip(REPORTED[name], values, strict=True))


def _print_trace(points: dict[int, tuple[BatchPoint, ...]]) -> None:
    show(
        f"6b. The same model's routing trace: mean LIS by batch size, 144 test sequences of {TOKENS} bytes in the "
        "order of their three domains",
        ["layer", "sequences", "observed", "tokens shuffled", "multinomial"],
        [
            [
                layer,
                point.batch_sequences,
                f"{point.observed:.2f}",
                f"{point.shuffled:.2f} [{point.shuffled_low:.2f}, {point.shuffled_high:.2f}]",
                f"{point.multinomial:.2f} [{point.multinomial_low:.2f}, {point.multinomial_high:.2f}]",
            ]
            for layer, found in points.items()
            for point in found
        ],
    )
