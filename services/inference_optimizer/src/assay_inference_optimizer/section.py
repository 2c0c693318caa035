"""The section this service contributes to a model's report card."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Literal

from assay.artifacts.store import ArtifactStore
from assay.checkup.section import KIND, Figure, Plot, Section, Table
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer import report

NO_SPARSE = "No layer of this model can run sparse."
PACKAGES = ("assay-inference-optimizer", "assay-kernels", "torch", "transformers")


def write_section(artifacts: ArtifactStore, request: own.WriteSectionStep) -> str:
    """Puts the section together from what was measured; returns its digest."""
    plan, comparison, profile, selection = request.plan, request.comparison, request.profile, request.selection
    sparse = request.HasField("plan")
    drawn = {
        Plot("exits.svg", "Exit curves", "After which layer the answer is there, and how near the state is to it."): (
            report.exit_curves_plot(profile)
        ),
        Plot("rules.svg", "Exit rules", "Layers saved against agreement; dotted line: 99 %."): (
            report.exit_rules_plot(profile)
        ),
    }
    tables = [_class_table(profile)]
    lineage = {"model": request.model, "exit-profile": profile.profile}
    if sparse:
        blocks = "Blue: key blocks that a query block attends to; grey: that it could."
        drawn = {
            Plot("density.svg", "Density against loss", "What reading less costs; bars: 95 % paired bootstrap."): (
                report.density_loss_plot(plan, comparison)
            ),
            Plot("blocks.svg", "Blocks chosen", blocks): report.block_heat_map(selection),
            **drawn,
        }
        tables = [_plan_table(plan, selection), _method_table(comparison), *tables]
        lineage |= {
            "sparsity-plan": plan.plan,
            "selection-comparison": comparison.comparison,
            "block-selection": selection.selection,
        }
    section = Section(
        service="inference_optimizer",
        title="Speed",
        question="How much faster can this model run, at what loss?",
        answer=f"{_sparse_answer(plan) if sparse else NO_SPARSE} {_exit_answer(profile)}",
        figures=(*(_sparse_figures(plan) if sparse else ()), *_exit_figures(profile)),
        tables=tuple(tables),
        plots=tuple(drawn),
        caveats=(
            *(_sparse_caveats(plan, comparison, selection) if sparse else ()),
            *_exit_caveats(profile),
        ),
        lineage=lineage,
    )
    plots = {plot.file: svg for plot, svg in drawn.items()}
    versions = {name: metadata.version(name) for name in PACKAGES}
    return artifacts.put(KIND, section.to_files(plots), inputs=list(lineage.values()), versions=versions)


def _sparse_answer(plan: api.PlanSparsityResult) -> str:
    if not plan.within_budget:
        return "No density below 1 was shown to keep the rise in loss within the budget: attention stays dense."
    return (
        f"Attending to {_mean_density(plan):.0%} of the causal pairs changes the loss by "
        f"{plan.increase_nats.mean:+.4f} nats per token, and would make attention "
        f"{plan.predicted_attention_ratio:.2f} times and a whole prefill of {plan.length:,} tokens "
        f"{plan.predicted_prefill_ratio:.2f} times as fast, counted in multiplications."
    )


def _exit_answer(profile: api.ProfileEarlyExitResult) -> str:
    suited = profile.suitability
    if not suited.rule:
        return "No exit rule could be certified at 1 % disagreement."
    return (
        f"Leaving early saves {suited.gross_saving:.0%} of the layers at 1 % disagreement at most "
        f"({suited.net_saving:+.0%} net of looking); an oracle would save {profile.oracle_saving:.0%}."
    )


def _mean_density(plan: api.PlanSparsityResult) -> float:
    return sum(layer.density for layer in plan.layers) / max(1, len(plan.layers))


def _sparse_figures(plan: api.PlanSparsityResult) -> tuple[Figure, ...]:
    rise = plan.increase_nats
    return (
        Figure("Density of the plan", 100 * _mean_density(plan), "% of causal pairs", note="counted, mean over layers"),
        Figure("Rise in loss", rise.mean, "nats per token", rise.low, rise.high, "t interval, sequences held out"),
        Figure("Attention, dense over sparse", plan.predicted_attention_ratio, "x", note="multiplications, not time"),
        Figure(
            f"Prefill of {plan.length:,} tokens, dense over sparse",
            plan.predicted_prefill_ratio,
            "x",
            note="multiplications, not time",
        ),
    )


def _exit_figures(profile: api.ProfileEarlyExitResult) -> tuple[Figure, ...]:
    suited = profile.suitability
    return (
        Figure(
            "Early-exit suitability",
            100 * suited.gross_saving,
            "% of layers",
            note=f"at 1 % disagreement; {100 * suited.net_saving:+.1f} % net of head cost",
        ),
        Figure("Oracle saving", 100 * profile.oracle_saving, "% of layers"),
    )


def _plan_table(plan: api.PlanSparsityResult, selection: api.InspectSelectionResult) -> Table:
    looked = {layer.layer: layer for layer in selection.layers}
    rows = [
        (
            layer.layer,
            round(layer.density, 3),
            _rounded(looked.get(layer.layer), "mass"),
            _rounded(looked.get(layer.layer), "oracle_mass"),
            looked[layer.layer].fallback if layer.layer in looked else "",
        )
        for layer in plan.layers
    ]
    return Table(
        "Layers",
        (
            "layer",
            "density of the plan",
            "attention held at the default density",
            "by the best choice",
            "dense, since it",
        ),
        tuple(rows),
        f"Planned on {plan.sequences} sequences of {plan.sequence_tokens} calibration tokens, half of them held out.",
    )


def _rounded(layer: api.LayerSelection | None, name: Literal["mass", "oracle_mass"]) -> float | None:
    return round(getattr(layer, name), 3) if layer is not None and layer.HasField(name) else None


def _method_table(comparison: api.CompareSelectionResult) -> Table:
    rows = [
        (
            report.SELECTION_NAMES[method.selection],
            round(method.density, 4),
            round(method.loss_nats, 4),
            round(method.increase_nats.mean, 4),
            round(method.increase_nats.low, 4),
            round(method.increase_nats.high, 4),
        )
        for method in comparison.methods
    ]
    return Table(
        "Ways to choose blocks, at one density",
        ("method", "density", "loss, nats", "rise, nats", "low", "high"),
        tuple(rows),
        f"On {comparison.sequences} sequences of {comparison.sequence_tokens} tokens of the test split.",
    )


def _class_table(profile: api.ProfileEarlyExitResult) -> Table:
    middle = max(1, len(profile.layers) // 2)
    rows = [(kind.name, kind.tokens, round(kind.agreement[middle - 1], 3)) for kind in profile.classes]
    return Table(
        "Kinds of token",
        ("kind", "tokens", f"answer final after layer {middle}"),
        tuple(rows),
        f"On {profile.prompts} sequences, {profile.tokens:,} tokens.",
    )


def _sparse_caveats(
    plan: api.PlanSparsityResult, comparison: api.CompareSelectionResult, selection: api.InspectSelectionResult
) -> Iterator[str]:
    yield (
        "Speeds are predicted by counting multiplications; `assay inference-optimizer bench attention` measures what a "
        "machine reaches of them."
    )
    rise = {method.selection: method.increase_nats for method in comparison.methods}
    walk, window = rise.get(api.SELECTION_SKETCH_WALK), rise.get(api.SELECTION_SINK_WINDOW)
    if window is not None and window.high < 0:
        yield (
            f"Reading only the first and last blocks lowers the loss by {-window.mean:.4f} nats: this model cannot use "
            f"{plan.sequence_tokens} tokens, as one cannot that was trained on shorter sequences. What sparse "
            "attention seems to cost here, or to gain, says nothing of a model that can use its context."
        )
    elif walk is not None and window is not None and walk.mean >= window.mean:
        yield (
            f"On this text the first and last blocks alone do as well ({window.mean:+.4f} nats against "
            f"{walk.mean:+.4f}): it does not show what choosing blocks is for."
        )
    hop = rise.get(api.SELECTION_ONE_HOP)
    if walk is not None and hop is not None:
        yield f"The walk changes the loss by {walk.mean - hop.mean:+.4f} nats against scores without it (one hop)."
    blocks = -(-selection.tokens // max(1, selection.block_size))
    yield (
        f"Measured on sequences of {plan.sequence_tokens} tokens with blocks of {selection.block_size} ({blocks} of "
        "them); a longer context has more to choose from."
    )
    if plan.sequences < 32:
        yield f"Only {plan.sequences} sequences were planned on; the interval is wide."


def _exit_caveats(profile: api.ProfileEarlyExitResult) -> Iterator[str]:
    if profile.head_cost_layers > 1:
        yield f"One look through the head costs as much as {profile.head_cost_layers:.1f} layers."
    yield (
        "Suitability is defined by this project; the formula of arXiv:2603.23701, whose question it answers, was not "
        "available."
    )
