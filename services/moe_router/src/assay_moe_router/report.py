"""Plots of routing and of plans, as SVG that takes its text colour from the page it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from assay.checkup.plot import COLOURS, INK, svg
from assay_moe_router.core.evaluate import Measured
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.lorenz import gini, lorenz_curve
from assay_moe_router.core.null import BatchPoint
from assay_moe_router.core.plan import OWN, BalancePlan
from assay_moe_router.core.stability import StabilityPoint, rank_agreement
from assay_moe_router.core.statistics import Floats, RoutingStatistics

HEAT = "cividis"
MAX_HEAT_SLOTS = 512


def load_heat_map(plan: BalancePlan, measured: Measured) -> bytes:
    """Layer x slot: what each slot carries, in fair shares of an expert, before and after, on one colour scale."""
    before = [np.asarray(measured.expert_tokens[layer.layer], dtype=float) for layer in plan.layers]
    after = [np.asarray(measured.slot_tokens[layer.layer], dtype=float) for layer in plan.layers]
    width = min(MAX_HEAT_SLOTS, max(map(len, after)))

    def grid(rows: Sequence[Floats]) -> Floats:
        cells = np.full((len(rows), width), np.nan)
        for index, row in enumerate(rows):
            share = row * plan.layers[index].experts / max(1.0, row.sum())
            busiest_first = np.sort(share)[::-1][:width]
            cells[index, : len(busiest_first)] = busiest_first
        return cells

    grids = grid(before), grid(after)
    top = max(np.nanmax(cells) for cells in grids)

    def draw(figure: Figure) -> None:
        rows = figure.subplots(2, 1, sharex=True)
        for axes, cells, title in zip(rows, grids, ("before", "after"), strict=True):
            shown = axes.imshow(cells, aspect="auto", cmap=HEAT, vmin=0, vmax=top, interpolation="nearest")
            axes.set_title(title, loc="left")
            axes.set_ylabel("layer")
            axes.set_yticks(range(len(plan.layers)), [str(layer.layer) for layer in plan.layers])
        rows[-1].set_xlabel("slots, busiest first")
        figure.colorbar(shown, ax=rows, label="fair shares")

    return svg(draw, (7.0, 1.6 + 0.9 * min(12, max(2, len(plan.layers)))))


def lorenz_plot(statistics: RoutingStatistics) -> bytes:
    """Share of tokens that the least busy experts carry together; the diagonal is even."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for number, layer in enumerate(statistics.layers):
            if layer.loads.sum():
                experts, tokens = lorenz_curve(layer.loads)
                label = f"layer {layer.layer}, Gini {gini(layer.loads):.2f}" if number < len(COLOURS) else None
                axes.plot(experts, tokens, color=COLOURS[number % len(COLOURS)], label=label)
        axes.set_xlabel("share of experts, least busy first")
        axes.set_ylabel("share of tokens")
        axes.legend(loc="upper left")

    return svg(draw, (4.6, 4.0))


def batch_size_plot(points: Mapping[int, Sequence[BatchPoint]]) -> bytes:
    """LIS by batch size beside what chance alone gives (bands: 95 %)."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(points), squeeze=False)[0]
        for axes, (layer, curve) in zip(panels, points.items(), strict=True):
            sizes = [point.batch_sequences for point in curve]
            for name, colour in (("multinomial", COLOURS[1]), ("shuffled", COLOURS[2])):
                low, high = ([getattr(point, f"{name}_{end}") for point in curve] for end in ("low", "high"))
                axes.fill_between(sizes, low, high, color=colour, alpha=0.3, linewidth=0)
                label = {"multinomial": "fixed odds", "shuffled": "tokens shuffled"}[name]
                axes.plot(sizes, [getattr(point, name) for point in curve], color=colour, linestyle="--", label=label)
            axes.plot(sizes, [point.observed for point in curve], color=COLOURS[0], marker="o", label="observed")
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_title(f"layer {layer}", loc="left")
            axes.set_xlabel("sequences in a batch")
        panels[0].set_ylabel("mean LIS of a batch")
        panels[0].legend()

    return svg(draw, (3.4 * len(points), 3.2))


def frequency_importance_plot(statistics: RoutingStatistics, importance: Importance) -> bytes:
    """Does being chosen often mean being important? One point an expert."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, layer in enumerate(importance.layers):
            share = statistics.layer(layer.layer).loads / max(1, statistics.layer(layer.layer).loads.sum())
            label = f"layer {layer.layer}, Spearman {rank_agreement(share, layer.scores):.2f}"
            axes.scatter(
                share,
                layer.scores,
                s=22,
                color=COLOURS[number % len(COLOURS)],
                label=label if number < len(COLOURS) else None,
            )
        axes.set_xlabel("share of the layer's choices")
        axes.set_ylabel("rise in loss without it, nats per token")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.legend()

    return svg(draw, (4.6, 3.6))


def memory_waterfall(plan: BalancePlan) -> bytes:
    """Where the bytes go: experts as they are, what quantizing them frees, what replicas take."""
    freed = replicas = 0
    for layer in plan.layers:
        own = layer.bytes_before // layer.experts
        freed += sum(own - size for size in layer.slot_bytes[: layer.experts])
        replicas += sum(layer.slot_bytes[layer.experts :])
    bars = [
        ("experts\nbefore", 0, plan.bytes_before, COLOURS[0]),
        ("quantized\nexperts", plan.bytes_before - freed, freed, COLOURS[2]),
        ("replicas", plan.bytes_before - freed, replicas, COLOURS[1]),
        ("experts\nafter", 0, plan.bytes_after, COLOURS[0]),
    ]
    unit, scale = _byte_unit(plan.bytes_before)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for position, (_, bottom, height, colour) in enumerate(bars):
            axes.bar(position, height / scale, bottom=bottom / scale, color=colour, width=0.6)
            sign = ("", "-", "+", "")[position]
            axes.annotate(
                f"{sign}{height / scale:.1f}",
                (position, (bottom + height) / scale),
                ha="center",
                va="bottom",
                xytext=(0, 6),
                textcoords="offset points",
            )
        axes.axhline(plan.bytes_before / scale, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(bars)), [name for name, *_ in bars])
        axes.set_ylabel(unit)
        axes.margins(y=0.15)

    return svg(draw, (4.6, 3.4))


def stability_plot(points: Mapping[int, Sequence[StabilityPoint]]) -> bytes:
    """Rank agreement of a small calibration set with the rest (bands: 95 % of random draws)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (layer, curve) in enumerate(points.items()):
            sizes, colour = [point.sequences for point in curve], COLOURS[number % len(COLOURS)]
            axes.fill_between(
                sizes, [p.low for p in curve], [p.high for p in curve], color=colour, alpha=0.25, linewidth=0
            )
            axes.plot(sizes, [p.spearman for p in curve], color=colour, marker="o", label=f"layer {layer}")
        axes.set_xscale("log", base=2)
        if points:
            sizes = [point.sequences for point in next(iter(points.values()))]
            axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlabel("sequences the importance was measured on")
        axes.set_ylabel("Spearman with the others")
        axes.set_ylim(top=1.02)
        axes.legend()

    return svg(draw, (4.6, 3.4))


def quantized_share(plan: BalancePlan) -> float:
    """Share of experts whose own slot is quantized."""
    own = [bits for layer in plan.layers for bits in layer.slot_bits[: layer.experts]]
    return sum(bits != OWN for bits in own) / len(own)


def _byte_unit(size: int) -> tuple[str, float]:
    for unit, scale in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if size >= scale:
            return unit, scale
    return "bytes", 1.0
