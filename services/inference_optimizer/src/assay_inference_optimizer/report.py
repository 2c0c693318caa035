"""Plots of sparse attention and early exit, as SVG that takes its text colour from the page it stands in."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from assay.checkup.plot import COLOURS, INK, svg
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

MAX_PANELS = 4
SELECTION_NAMES = {
    api.SELECTION_SKETCH_WALK: "Sketch&Walk",
    api.SELECTION_ONE_HOP: "one hop",
    api.SELECTION_ORACLE: "oracle",
    api.SELECTION_SINK_WINDOW: "sink+window",
    api.SELECTION_RANDOM: "random",
    api.SELECTION_DENSE: "dense",
}
RULE_NAMES = {
    api.EXIT_RULE_MAX_PROBABILITY: "max probability",
    api.EXIT_RULE_MARGIN: "margin",
    api.EXIT_RULE_ENTROPY: "entropy",
    api.EXIT_RULE_STATE_COSINE: "state cosine",
    api.EXIT_RULE_PATIENCE: "patience",
}


def block_heat_map(selection: api.InspectSelectionResult) -> bytes:
    """Query block x key block, one panel a sparse layer (the first, the last and some between): what is chosen."""
    sparse = [layer for layer in selection.layers if layer.query_blocks]
    shown = [sparse[index] for index in _some(len(sparse))]

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("compressed")  # the plain one takes panels of a fixed shape for smaller than they are
        panels = figure.subplots(1, max(1, len(shown)), squeeze=False)[0]
        if not shown:
            panels[0].set_axis_off()
            panels[0].text(0.5, 0.5, "every layer ran dense", ha="center", va="center")
        for axes, layer in zip(panels, shown, strict=False):
            blocks = len(layer.query_blocks)
            grid = np.full((blocks, blocks, 4), (0.5, 0.5, 0.5, 0.0))
            for row, chosen in enumerate(layer.query_blocks):
                grid[row, : row + 1] = (0.5, 0.5, 0.5, 0.18)
                grid[row, list(chosen.key_blocks)] = (*mpl.colors.to_rgb(COLOURS[0]), 1.0)
            axes.imshow(grid, interpolation="nearest", aspect="equal")
            axes.set_title(f"layer {layer.layer}, {layer.density:.0%}", loc="left")
            axes.set_xlabel("key block")
        panels[0].set_ylabel("query block")

    return svg(draw, (2.6 * max(1, len(shown)) + 0.4, 3.0))


def density_loss_plot(plan: api.PlanSparsityResult, comparison: api.CompareSelectionResult) -> bytes:
    """Rise in loss by density: one density for all layers, and every method at the comparison's density."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        uniform = [point for point in plan.curve if point.HasField("target_density")]
        axes.plot(
            [point.density for point in uniform],
            [point.increase_nats.mean for point in uniform],
            color=COLOURS[0],
            marker="o",
            label="Sketch&Walk by density",
        )
        for number, method in enumerate(m for m in comparison.methods if m.selection != api.SELECTION_DENSE):
            rise = method.increase_nats
            axes.errorbar(
                [method.density],
                [rise.mean],
                yerr=[[max(0.0, rise.mean - rise.low)], [max(0.0, rise.high - rise.mean)]],
                fmt="s",
                capsize=3,
                color=COLOURS[(number + 1) % len(COLOURS)],
                label=SELECTION_NAMES[method.selection],
            )
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("density, attended over causal pairs")
        axes.set_ylabel("rise in loss, nats per token")
        axes.legend()

    return svg(draw, (5.4, 3.6))


def exit_curves_plot(profile: api.ProfileEarlyExitResult) -> bytes:
    """By layer: how often its answer is the final one, and stays so; and how near its state is."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        layers = [layer.layer for layer in profile.layers]
        left.plot(layers, [layer.agreement for layer in profile.layers], marker="o", color=COLOURS[0], label="agrees")
        left.plot(
            layers, [layer.saturated for layer in profile.layers], marker="s", color=COLOURS[1], label="agrees for good"
        )
        left.set_ylabel("share of tokens")
        left.set_ylim(0, 1.02)
        right.plot(
            layers,
            [layer.final_cosine for layer in profile.layers],
            marker="o",
            color=COLOURS[2],
            label="final state",
        )
        right.plot(
            layers,
            [layer.previous_cosine for layer in profile.layers],
            marker="s",
            color=COLOURS[3],
            label="state before",
        )
        right.set_ylim(top=1.02)
        right.set_ylabel("cosine with")
        for axes in (left, right):
            axes.set_xlabel("layer")
            axes.set_xticks(layers if len(layers) <= 12 else layers[:: len(layers) // 8])
            axes.legend(loc="lower right")

    return svg(draw, (7.2, 3.2))


def exit_rules_plot(profile: api.ProfileEarlyExitResult) -> bytes:
    """Every rule over its thresholds: layers saved by agreement, net of the cost of looking dashed."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, curve in enumerate(profile.rules):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(curve.agreement, curve.gross_saving, color=colour, label=RULE_NAMES[curve.rule])
            axes.plot(curve.agreement, curve.net_saving, color=colour, linestyle="--")
        axes.axvline(0.99, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("agreement with the whole model")
        axes.set_ylabel("share saved (dashed: net of heads)")
        axes.legend()

    return svg(draw, (5.4, 3.6))


def _some(count: int) -> list[int]:
    if count <= MAX_PANELS:
        return list(range(count))
    return [round(index * (count - 1) / (MAX_PANELS - 1)) for index in range(MAX_PANELS)]
