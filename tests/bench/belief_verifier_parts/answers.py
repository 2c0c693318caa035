"""What selecting among traces makes of answers: the verifier, its rivals and its controls, on the same traces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.bootstrap import Interval, clustered_mean
from assay_tom_verifier.core.verifier.calibration import risk_coverage
from assay_tom_verifier.core.verifier.controls import oracle, selected, shuffled, single
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.select import Selection
from assay_tom_verifier.core.verifier.solver import solve
from bench.belief_verifier_parts.judged import Traces, fresh
from bench.belief_verifier_parts.subjects import Subjects
from bench.moe_parts.tables import show

Way = tuple[Aggregation, Selection]
WAYS: tuple[Way, ...] = tuple(
    (how, selection) for how in Aggregation for selection in (Selection.VANILLA, Selection.WEIGHTED)
)


@dataclass(frozen=True)
class Method:
    """accuracy: share of questions; over_single, over_majority: paired differences, by story."""

    generator: str
    name: str
    accuracy: float
    over_single: Interval
    over_majority: Interval


@dataclass(frozen=True)
class Answers:
    """gap_closed: the verifier's share of what lies between a single trace and the oracle. ways: accuracy by
    aggregation and selection; way: the one of them that was used. refusing: area under risk and
    coverage of the chosen answers, by their score, and of a random order, their error rate.
    """

    generator: str
    n: int
    questions: int
    way: str
    methods: tuple[Method, ...]
    ways: dict[str, float]
    gap_closed: float
    refusing: tuple[float, float]


def best_way(scores: Tensor, traces: Traces) -> Way:
    """The aggregation and selection that answer most of these questions, which are used for nothing else."""
    return max(WAYS, key=lambda way: float(_chosen(traces, scores, way).mean()))


def measure(
    name: str, scores: Tensor, traces: Traces, way: Way, seed: int, more: dict[str, Tensor] | None = None
) -> Answers:
    """scores: the verifier's, [B, N, T]. more: what further methods make of the same questions, [B] each."""
    ours = _chosen(traces, scores, way)
    alone, heads = single(traces.answers, traces.right), _majority(traces)
    best = oracle(traces.answers, traces.right)
    exact = selected(traces.answers, traces.right, _exact(traces), Selection.VANILLA)
    found: dict[str, Tensor] = {"one trace": alone, "majority": heads, "verifier": ours, "oracle": best}
    found["exact checker selects"] = exact
    aggregated = aggregate(scores, way[0], traces.mask)
    found["verifier's scores shuffled"] = shuffled(traces.answers, traces.right, aggregated, way[1], seed)
    found |= more or {}
    methods = tuple(
        Method(name, label, float(each.mean()), _gain(each, alone, traces), _gain(each, heads, traces))
        for label, each in found.items()
    )
    chosen = aggregated.max(-1).values.numpy()
    return Answers(
        name,
        traces.claims.shape[1],
        len(traces.questions),
        f"{way[0].value}, {way[1].value}",
        methods,
        {f"{how.value}, {pick.value}": float(_chosen(traces, scores, (how, pick)).mean()) for how, pick in WAYS},
        float((ours.mean() - alone.mean()) / (best.mean() - alone.mean())),
        (risk_coverage(chosen, ours.numpy() > 0).area, float(1 - ours.mean())),
    )


def rivals(
    generator: BeliefNetwork, who: Subjects, traces: Traces, way: Way, votes: int, seed: int
) -> dict[str, Tensor]:
    """What the verifier must be held against. votes: as many as cost what drawing and scoring the traces costs."""
    found = {
        f"majority of {votes}, equal inference": _majority(
            fresh(generator, traces.questions, votes, seed, traces.right)
        )
    }
    for label, judge in (("labels shuffled", who.shuffled_labels), ("outcome only", who.outcome_only)):
        # Of an outcome verifier the last score alone means anything.
        own = (Aggregation.LAST, way[1]) if judge is who.outcome_only else way
        found[f"verifier, {label}"] = _chosen(traces, judge.score(traces.questions, traces.claims), own)
    claims = solve(who.verifier, traces.questions)
    found["verifier solves alone"] = (traces.questions.last_of(claims) == traces.right).double()
    for share, longer in who.longer_trained.items():
        trained = fresh(longer, traces.questions, 1, seed + 1, traces.right)
        found[f"one trace, generator given {share:.0%} of the verifier's training"] = single(
            trained.answers, trained.right
        )
    return found


def print_answers(title: str, found: Answers, *remarks: str) -> None:
    show(
        title,
        ("method", "right", "over one trace, points", "over majority, points"),
        [
            (each.name, f"{100 * each.accuracy:.1f}", points(each.over_single), points(each.over_majority))
            for each in found.methods
        ],
        f"The verifier's way: {found.way}. All ways: "
        + "; ".join(f"{way} {100 * share:.1f}" for way, share in found.ways.items()),
        f"It closes {100 * found.gap_closed:.0f} % of the gap between one trace and oracle@{found.n}.",
        f"Area of risk over coverage {found.refusing[0]:.4f}; {found.refusing[1]:.4f} if refused at random.",
        *remarks,
    )


def points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _chosen(traces: Traces, scores: Tensor, way: Way) -> Tensor:
    return selected(traces.answers, traces.right, aggregate(scores, way[0], traces.mask), way[1])


def _majority(traces: Traces) -> Tensor:
    return selected(traces.answers, traces.right, torch.zeros(traces.answers.shape), Selection.MAJORITY)


def _exact(traces: Traces) -> Tensor:
    """The share of each trace's steps before its first error, and 1 where it has none: the rules as a verifier."""
    return (traces.labels & traces.mask).sum(-1) / traces.questions.lengths[:, None]


def _gain(ours: Tensor, theirs: Tensor, traces: Traces) -> Interval:
    return clustered_mean((ours - theirs).numpy(), traces.stories)
