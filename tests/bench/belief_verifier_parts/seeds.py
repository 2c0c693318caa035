"""The same measurement on models of further seeds: how much of it is this training's luck."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.belief_verifier_parts.answers import Answers
from bench.moe_parts.tables import show

METHODS = ("one trace", "majority", "verifier", "oracle")


@dataclass(frozen=True)
class Spread:
    """Of one generator's scale over the seeds, in the order given: accuracies by method, and the verifier's gains."""

    generator: str
    questions: int
    accuracy: dict[str, tuple[float, ...]]
    over_single: tuple[float, ...]
    over_majority: tuple[float, ...]
    gap_closed: tuple[float, ...]


def spread(by_seed: Sequence[Sequence[Answers]]) -> list[Spread]:
    """by_seed: of each seed the same generators in the same order."""
    rows = []
    for same in zip(*by_seed, strict=True):
        methods = [{each.name: each for each in found.methods} for found in same]
        rows.append(
            Spread(
                same[0].generator,
                same[0].questions,
                {name: tuple(each[name].accuracy for each in methods) for name in METHODS},
                tuple(each["verifier"].over_single.mean for each in methods),
                tuple(each["verifier"].over_majority.mean for each in methods),
                tuple(found.gap_closed for found in same),
            )
        )
    return rows


def print_spread(rows: Sequence[Spread]) -> None:
    seeds = len(rows[0].over_single)
    show(
        f"Best of 16 over {seeds} seeds, each with generators, verifier and stories of its own: mean [least, most]",
        ("generator", "questions a seed", *METHODS, "over one trace", "over majority", "of the gap"),
        [
            (
                row.generator,
                f"{row.questions:,}",
                *(_range(row.accuracy[name]) for name in METHODS),
                _range(row.over_single),
                _range(row.over_majority),
                _range(row.gap_closed),
            )
            for row in rows
        ],
    )


def _range(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} [{100 * min(values):.1f}, {100 * max(values):.1f}]"
