"""How much calibration is enough? The paper's claim (iii)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay_moe_router.core.replicate_quantize import Policy, plan_replicate_quantize
from assay_moe_router.core.stability import StabilityPoint, stability
from assay_moe_router.core.statistics import RoutingStatistics
from bench.moe_parts.intervals import Interval
from bench.moe_parts.subject import SEQUENCES, TOKENS, Subject, rows_of, spread
from bench.moe_parts.tables import show

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
PLAN_SIZES = (1, 4, 16, 64, 256)
DRAWS = 40


@dataclass(frozen=True)
class StabilityRow:
    """Rank agreement with the sequences outside the sample, by size of the sample."""

    recipe: str
    seed: int
    layer: int
    loads: tuple[StabilityPoint, ...]
    leave_one_out: tuple[StabilityPoint, ...]


@dataclass(frozen=True)
class PlanSizeRow:
    """Mean lis ratio on the test split of plans made on n sequences: drawn at random (mean and 95 % range over draws),
    the first n of the split, and n spread evenly over it. Tokens spread evenly over an expert's slots.
    """

    recipe: str
    seed: int
    sequences: int
    drawn: Interval
    first: float
    evenly: float


def measure_stability(subject: Subject) -> list[StabilityRow]:
    rows = []
    for layer in subject.importance.layers:
        assert layer.per_sequence is not None
        counts = subject.statistics.layer(layer.layer).counts.T.astype(np.float64)
        rows.append(
            StabilityRow(
                subject.recipe,
                subject.seed,
                layer.layer,
                stability(counts, first="most", sizes=SIZES, seed=subject.seed),
                stability(layer.per_sequence, first="least", sizes=SIZES, seed=subject.seed),
            )
        )
    return rows


def measure_plan_size(subject: Subject) -> list[PlanSizeRow]:
    test = rows_of(subject.traffic, spread(subject.traffic.sequences, SEQUENCES))
    random = np.random.default_rng(subject.seed)
    available = subject.reservoir.sequences

    def ratio(rows: list[int]) -> float:
        return _mean_ratio(subject, rows_of(subject.reservoir, rows), test)

    rows = []
    for size in PLAN_SIZES:
        drawn = [ratio(random.choice(available, size, replace=False).tolist()) for _ in range(DRAWS)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append(
            PlanSizeRow(
                subject.recipe,
                subject.seed,
                size,
                Interval(float(np.mean(drawn)), float(low), float(high)),
                ratio(list(range(size))),
                ratio(spread(available, size)),
            )
        )
    return rows


def _mean_ratio(subject: Subject, calibration: RoutingStatistics, test: RoutingStatistics) -> float:
    plan = plan_replicate_quantize(
        subject.digest, calibration, subject.importance, subject.expert_bytes, policy=Policy.TARGET_LIS
    )
    return float(np.mean([plan.layer(layer.layer).balance(layer.loads).ratio for layer in test.layers]))


def print_stability(rows: Sequence[StabilityRow]) -> None:
    lines = []
    for recipe in dict.fromkeys(row.recipe for row in rows):
        group = [row for row in rows if row.recipe == recipe]
        for name, pick in (("loads", lambda row: row.loads), ("leave-one-out", lambda row: row.leave_one_out)):
            points = [[pick(row)[index] for row in group] for index in range(len(SIZES))]
            lines.append(
                [recipe, name, "Spearman", *(f"{np.mean([point.spearman for point in at]):.3f}" for at in points)]
            )
            lines.append([recipe, name, "lowest 2.5 %", *(f"{min(point.low for point in at):.3f}" for at in points)])
            end = "same busiest" if name == "loads" else "same least"
            lines.append([recipe, name, end, *(f"{np.mean([point.same_first for point in at]):.0%}" for at in points)])
    show(
        f"4a. Claim (iii), a small calibration set suffices: rank agreement of n sequences of {TOKENS} tokens with the "
        f"rest of {SEQUENCES}, 200 draws; mean over layers and seeds",
        ["model", "of", "n =", *map(str, SIZES)],
        lines,
        "lowest 2.5 %: of the draws, in the worst layer and seed. same: how often both name the same expert; several "
        "experts without any token make the least important one a matter of chance.",
    )


def print_plan_size(rows: Sequence[PlanSizeRow]) -> dict[str, object]:
    lines, summary = [], {}
    for recipe in dict.fromkeys(row.recipe for row in rows):
        by_size = {size: [row for row in rows if (row.recipe, row.sequences) == (recipe, size)] for size in PLAN_SIZES}
        drawn = {size: float(np.mean([row.drawn.mean for row in at])) for size, at in by_size.items()}
        first = {size: float(np.mean([row.first for row in at])) for size, at in by_size.items()}
        evenly = {size: float(np.mean([row.evenly for row in at])) for size, at in by_size.items()}
        ranges = [
            f"[{np.mean([row.drawn.low for row in at]):.2f}, {np.mean([row.drawn.high for row in at]):.2f}]"
            for at in by_size.values()
        ]
        lines.append([recipe, "at random", *(f"{value:.2f}x" for value in drawn.values())])
        lines.append([recipe, "95 % of draws", *ranges])
        lines.append([recipe, "evenly spread", *(f"{value:.2f}x" for value in evenly.values())])
        lines.append([recipe, "the split's first", *(f"{value:.2f}x" for value in first.values())])
        summary[recipe] = {"drawn": drawn, "evenly": evenly, "first": first}
    show(
        "4b. The same in balance: mean lis ratio on the test split of target-lis plans made on n calibration "
        f"sequences, {DRAWS} draws, seeds averaged",
        ["model", "taken", *(f"n = {size}" for size in PLAN_SIZES)],
        lines,
        "Tokens spread evenly over an expert's slots (computed, not run). The split's first sequences come from its "
        "few first files, of which one may fill most of them.",
    )
    return summary
