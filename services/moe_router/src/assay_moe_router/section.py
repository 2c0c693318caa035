"""The section this service contributes to a model's report card."""

from __future__ import annotations

from collections.abc import Sequence

from assay.artifacts.store import ArtifactStore
from assay.checkup.section import KIND, Cell, Figure, Plot, Section, Table
from assay.moe_router.v1 import steps_pb2 as own
from assay_moe_router import report, stored
from assay_moe_router.core.evaluate import Evaluation, Measured
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.null import BatchPoint, batch_points
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.stability import StabilityPoint, rank_agreement, stability
from assay_moe_router.core.statistics import RoutingStatistics

MAX_CURVES = 4
"""Layers drawn where each takes a panel: the first, the last and some between."""


def write_section(artifacts: ArtifactStore, request: own.WriteSectionStep) -> str:
    """Puts the section together from what was measured; returns its digest."""
    statistics = stored.read_statistics(artifacts, request.statistics).statistics
    _, _, importance = stored.read_importance(artifacts, request.importance)
    plan = stored.read_plan(artifacts, request.plan).plan
    evaluation = stored.read_evaluation(artifacts, request.evaluation)
    measured = Measured.from_json(artifacts.read(request.evaluation, stored.MEASURED))
    sizes = _batch_sizes(statistics.sequences)
    curves = {layer: batch_points(statistics.layer(layer), sizes) for layer in _some(statistics)}
    settling = {
        layer: stability(found, first="least")
        for layer in _some(statistics)
        if (found := importance.layer(layer).per_sequence) is not None
    }
    plots = {
        "loads.svg": report.load_heat_map(plan, measured),
        "memory.svg": report.memory_waterfall(plan),
        "importance.svg": report.frequency_importance_plot(statistics, importance),
        "lorenz.svg": report.lorenz_plot(statistics),
        "batches.svg": report.batch_size_plot(curves),
        "stability.svg": report.stability_plot(settling),
    }
    section = Section(
        service="moe_router",
        title="Expert balance",
        question="Are the experts balanced, and can replicas and quantisation balance them for free?",
        answer=_answer(plan, evaluation),
        figures=_figures(plan, evaluation),
        tables=(_layer_table(plan, evaluation, statistics),),
        plots=_plots(),
        caveats=tuple(_caveats(plan, evaluation, statistics, importance, curves, settling)),
        lineage={
            "model": request.model,
            "routing-statistics": request.statistics,
            "expert-importance": request.importance,
            "balance-plan": request.plan,
            "evaluation": request.evaluation,
        },
    )
    inputs = [request.model, request.statistics, request.importance, request.plan, request.evaluation]
    return artifacts.put(KIND, section.to_files(plots), inputs=inputs, versions=stored.versions())


def _answer(plan: BalancePlan, evaluation: Evaluation) -> str:
    before = max(balance.before for balance in evaluation.balances.values())
    replicas = sum(layer.replicas for layer in plan.layers)
    if not replicas:
        return (
            f"The busiest expert of the least balanced layer carries {before:.2f} times its fair share, which is "
            f"within the target of {plan.target_load_imbalance:g}: there is nothing to balance."
        )
    after = max(balance.lis_logical for balance in evaluation.balances.values())
    return (
        f"The busiest expert carries up to {before:.2f} times its fair share. {replicas} replicas, paid for by int8 "
        f"experts, bring that down to {after:.2f} on held-out text, in {plan.bytes_after:,} bytes of experts instead "
        f"of {plan.bytes_before:,}, with a change in loss of {evaluation.loss_nats.change:+.5f} nats per token."
    )


def _figures(plan: BalancePlan, evaluation: Evaluation) -> tuple[Figure, ...]:
    loss, accuracy = evaluation.loss_nats, evaluation.accuracy
    return (
        Figure(
            "Load-Imbalance Score, worst layer", max(b.before for b in evaluation.balances.values()), "x fair share"
        ),
        Figure("Better balanced, mean over layers", evaluation.mean_ratio, "x", note="LIS before / lis_logical after"),
        Figure(
            "Expert bytes, after / before", plan.bytes_after / plan.bytes_before, "", note="at most 1 by construction"
        ),
        Figure("Change in loss", loss.change, "nats per token", loss.low, loss.high, "paired bootstrap over sequences"),
        Figure(
            "Change in next-token accuracy",
            100 * accuracy.change,
            "points",
            100 * accuracy.low,
            100 * accuracy.high,
            "paired bootstrap over sequences",
        ),
        Figure("Experts quantized to pay", 100 * report.quantized_share(plan), "%"),
    )


def _layer_table(plan: BalancePlan, evaluation: Evaluation, statistics: RoutingStatistics) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for layer in plan.layers:
        balance, routing = evaluation.balances.get(layer.layer), statistics.layer(layer.layer)
        rows.append(
            (
                layer.layer,
                layer.experts,
                routing.top_k,
                round(balance.before, 3) if balance else None,
                layer.replicas,
                layer.quantized_experts,
                round(balance.lis_logical, 3) if balance else None,
                round(balance.lis_slots, 3) if balance else None,
                round(balance.ratio, 2) if balance else None,
                int((routing.loads == 0).sum()),
                routing.dropped_tokens,
            )
        )
    return Table(
        "Layers",
        (
            "layer",
            "experts m",
            "top-k",
            "LIS before",
            "replicas",
            "quantized experts",
            "lis_logical",
            "lis_slots",
            "ratio",
            "experts never chosen",
            "tokens dropped",
        ),
        tuple(rows),
        f"Planned on the calibration split, scored on {evaluation.sequences} sequences of the test split. LIS: how "
        "many times its fair share the busiest expert or slot carries; lis_logical takes the share of m experts, "
        "lis_slots that of all slots.",
    )


def _plots() -> tuple[Plot, ...]:
    return (
        Plot("loads.svg", "Load before and after", "What each expert, then each slot carries, in fair shares."),
        Plot("memory.svg", "Memory", "Quantized experts free what replicas take; the dotted line is the budget."),
        Plot(
            "importance.svg", "Frequency and importance", "One point an expert; leave-one-out on the calibration split."
        ),
        Plot("lorenz.svg", "Lorenz curve", "The further below the diagonal, the fewer experts do the work."),
        Plot(
            "batches.svg",
            "Imbalance by batch size",
            "Small batches look unbalanced by chance alone: compare the bands.",
        ),
        Plot("stability.svg", "How much calibration is enough", "Importance from few sequences against all others."),
    )


def _caveats(
    plan: BalancePlan,
    evaluation: Evaluation,
    statistics: RoutingStatistics,
    importance: Importance,
    curves: dict[int, tuple[BatchPoint, ...]],
    settling: dict[int, tuple[StabilityPoint, ...]],
) -> Sequence[str]:
    said = [f"Layer {layer.layer}: {note}." for layer in plan.layers for note in layer.notes]
    agreements = [
        rank_agreement(statistics.layer(layer.layer).loads.astype(float), layer.scores) for layer in importance.layers
    ]
    said.append(
        f"The paper finds that frequency does not tell importance; here their rank correlation is "
        f"{min(agreements):.2f} to {max(agreements):.2f} over the layers."
    )
    for layer, curve in curves.items():
        if len(curve) > 1:
            first, last = curve[0], curve[-1]
            trend = "grows" if last.observed > first.observed else "falls"
            said.append(
                f"The paper finds that imbalance grows with batch size; in layer {layer} the mean LIS of a batch "
                f"{trend} from {first.observed:.2f} ({first.batch_sequences} sequence) to {last.observed:.2f} "
                f"({last.batch_sequences}); fixed odds alone would give {first.multinomial:.2f} and "
                f"{last.multinomial:.2f}."
            )
    for layer, points in settling.items():
        if points:
            said.append(
                f"Layer {layer}: importance from {points[-1].sequences} sequences agrees with that from the others at "
                f"a rank correlation of {points[-1].spearman:.2f} ({points[-1].low:.2f} to {points[-1].high:.2f})."
            )
    said.append(
        "Which token goes to a quantized replica depends on the order of arrival in its batch, so outputs change "
        "slightly with the batch; an exact plan changes none."
    )
    said.append(
        "Balance is counted in tokens; it becomes time only where experts lie on different devices and are bound by "
        "compute."
    )
    if evaluation.sequences < 190:
        said.append(f"Only {evaluation.sequences} held-out sequences were there; the intervals are wide.")
    return said


def _some(statistics: RoutingStatistics) -> Sequence[int]:
    layers = [layer.layer for layer in statistics.layers if layer.loads.sum()]
    if len(layers) <= MAX_CURVES:
        return layers
    return [layers[round(index * (len(layers) - 1) / (MAX_CURVES - 1))] for index in range(MAX_CURVES)]


def _batch_sizes(sequences: int) -> Sequence[int]:
    """Powers of two whose batches take in nearly every sequence, and all of them at once: points of other sequences
    would not compare."""
    powers = [2**power for power in range(sequences.bit_length()) if 2**power < sequences]
    return [*(size for size in powers if sequences % size <= sequences // 10), sequences]
