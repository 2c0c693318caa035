"""Does imbalance grow with the batch? The paper's claim (i), beside what chance alone gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay_moe_router.core.load_imbalance import batch_curve
from assay_moe_router.core.null import BatchPoint, batch_points
from bench.moe_parts.subject import TOKENS, Subject
from bench.moe_parts.tables import show

SIZES = (1, 2, 4, 8, 16, 32, 64)
ORDERS = 20


@dataclass(frozen=True)
class BatchRow:
    """points: batches of neighbouring sequences. mixed: mean LIS by size, sequences dealt to batches at random."""

    recipe: str
    seed: int
    layer: int
    sequences: int
    points: tuple[BatchPoint, ...]
    mixed: tuple[float, ...]


def measure_batch_size(subject: Subject) -> list[BatchRow]:
    rows = []
    random = np.random.default_rng(subject.seed)
    for layer in subject.traffic.layers:
        points = batch_points(layer, SIZES, seed=subject.seed)
        curves = [batch_curve(random.permutation(layer.counts), SIZES) for _ in range(ORDERS)]
        mixed = tuple(float(np.mean([curve[size].mean() for curve in curves])) for size in SIZES)
        rows.append(BatchRow(subject.recipe, subject.seed, layer.layer, subject.traffic.sequences, points, mixed))
    return rows


def print_batch_size(rows: Sequence[BatchRow]) -> dict[str, object]:
    lines = []
    for recipe, layer in dict.fromkeys((row.recipe, row.layer) for row in rows):
        group = [row for row in rows if (row.recipe, row.layer) == (recipe, layer)]

        def means(name: str, group: list[BatchRow] = group) -> list[float]:
            return np.mean([[getattr(point, name) for point in row.points] for row in group], axis=0).tolist()

        mixed = np.mean([row.mixed for row in group], axis=0)
        excess = np.array(means("observed")) / np.array(means("shuffled"))
        curves = {
            "neighbours": [f"{value:.2f}" for value in means("observed")],
            "mixed": [f"{value:.2f}" for value in mixed],
            "tokens shuffled": _ranges(means("shuffled_low"), means("shuffled_high")),
            "multinomial": _ranges(means("multinomial_low"), means("multinomial_high")),
            "neighbours/shuffled": [f"{value:.2f}" for value in excess],
        }
        lines += [[recipe, layer, name, *cells] for name, cells in curves.items()]
    falling = sum(row.points[-1].observed < row.points[0].observed for row in rows)
    above = sum(point.observed > point.shuffled_high for row in rows for point in row.points)
    total = len(rows) * len(SIZES)
    figures = {"layers": len(rows), "falling": falling, "points_above_shuffled": above, "points": total}
    show(
        f"2. Claim (i), imbalance grows with the batch: mean LIS of batches of 1 to {SIZES[-1]} sequences of {TOKENS} "
        f"tokens, {rows[0].sequences} sequences of the test split, seeds averaged",
        ["model", "layer", "batches of", *map(str, SIZES)],
        lines,
        f"From 1 to {SIZES[-1]} sequences LIS falls in {falling} of {len(rows)} layers. With sequences of equal length "
        "it cannot rise: the largest of sums is never above the sum of the largest. The claim is not seen.",
        "neighbours: sequences of one file stay together; mixed: dealt at random. [ ]: 95 % range of the null's mean "
        "over batches. multinomial draws a token's choices independently.",
        f"Of {total} points (layers, seeds, sizes) {above} lie above the range of shuffled tokens: what tokens of a "
        "sequence, and sequences of a file, have in common. The last row is the factor over it.",
    )  # fmt: skip
    return figures


def _ranges(low: list[float], high: list[float]) -> list[str]:
    return [f"[{one:.2f}, {other:.2f}]" for one, other in zip(low, high, strict=True)]
