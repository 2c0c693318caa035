"""Is more better? What methods make of 1 to many traces of the same questions, and the picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.bootstrap import Interval, clustered_mean
from assay_tom_verifier.core.verifier.controls import subsampled
from assay_tom_verifier.core.verifier.select import Selection
from assay_tom_verifier.report import Band, accuracy_plot
from bench.belief_verifier_parts.answers import points
from bench.belief_verifier_parts.judged import Traces
from bench.moe_parts.tables import show

BEST, SUMMED, HEADS, ORACLE = "best trace", "scores summed by answer", "majority", "oracle"


@dataclass(frozen=True)
class Curve:
    """counts: traces a question, drawn without replacement, 20 times over below all of them. accuracy: by method, one
    interval by story a count; further: paired differences to the accuracy at `base` traces. each: what the accuracies
    are means of, [counts][B].
    """

    generator: str
    questions: int
    how: str
    base: int
    counts: tuple[int, ...]
    accuracy: dict[str, list[Interval]]
    further: dict[str, list[Interval]]
    each: dict[str, list[Tensor]] = field(metadata={"written": False})

    def at(self, method: str, count: int) -> Tensor:
        """[B]: share of draws in which each question was answered rightly."""
        return self.each[method][self.counts.index(count)]


def curve(
    name: str, said: Tensor, traces: Traces, how: Aggregation, counts: Sequence[int], base: int, trials: int = 20
) -> Curve:
    """said: the verifier's scores, [B, N, T]; counts: at most N."""
    scores = aggregate(said, how, traces.mask)
    hits = (traces.answers == traces.right[:, None]).double()
    ways = {
        BEST: (scores, Selection.VANILLA),
        SUMMED: (scores, Selection.WEIGHTED),
        HEADS: (scores, Selection.MAJORITY),
        ORACLE: (hits, Selection.VANILLA),
    }
    each = {
        method: [
            subsampled(
                traces.answers, traces.right, judged, selection, n, trials if n < scores.shape[1] else 1, seed=n
            ).mean(0)
            for n in counts
        ]
        for method, (judged, selection) in ways.items()
    }
    first = list(counts).index(base)
    return Curve(
        name,
        len(traces.questions),
        how.value,
        base,
        tuple(counts),
        {method: [clustered_mean(row.numpy(), traces.stories) for row in rows] for method, rows in each.items()},
        {
            method: [clustered_mean((row - rows[first]).numpy(), traces.stories) for row in rows]
            for method, rows in each.items()
        },
        each,
    )


def print_curve(found: Curve) -> None:
    methods = list(found.accuracy)
    show(
        f"Accuracy against N, % [95 % by story]: generator {found.generator}, {found.questions:,} questions",
        ("N", *methods),
        [
            (str(n), *(_share(found.accuracy[method][index]) for method in methods))
            for index, n in enumerate(found.counts)
        ],
        f"Traces are scored by: {found.how}.",
    )
    later = [(index, n) for index, n in enumerate(found.counts) if n > found.base]
    show(
        f"Is more better? Points over {found.base} traces of the same questions",
        ("N", *methods),
        [(str(n), *(points(found.further[method][index]) for method in methods)) for index, n in later],
    )


def picture(found: Curve) -> bytes:
    """SVG of the accuracies, with their bands and the oracle's line."""
    bands = {
        method: Band([row.mean for row in rows], [row.low for row in rows], [row.high for row in rows])
        for method, rows in found.accuracy.items()
        if method != ORACLE
    }
    return accuracy_plot(found.counts, bands, [row.mean for row in found.accuracy[ORACLE]])


def _share(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
