"""Plots of beliefs, verifiers and sensitive parameters, as SVG in the text colour of the page they stand in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.transforms import ScaledTranslation

from assay.cancel import CancelToken
from assay.checkup.plot import COLOURS, INK, svg
from assay.errors import ResourceExhausted

MAX_PANELS = 12
MAX_ARROWS = 5_000  # of all panels together
LABELS_AT_ONCE = 20  # between two looks at whether the caller still waits
UNKNOWN = (0.5, 0.5, 0.5, 0.15)


@dataclass(frozen=True)
class KripkeGraph:
    """An epistemic model as it is drawn. worlds: what holds in each. edges: by agent, (from, to). actual: its world."""

    title: str
    worlds: tuple[str, ...]
    edges: Mapping[str, Sequence[tuple[int, int]]]
    actual: int


@dataclass(frozen=True)
class Band:
    """A figure with its 95 % interval, at each of some points."""

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class Look(Artist):
    """Draws nothing; raises where the picture is no longer waited for, as it is laid out and as it is drawn."""

    def __init__(self, axes: Axes, cancel: CancelToken, zorder: float = 1.0) -> None:
        super().__init__()
        self._cancel = cancel
        self.set_zorder(zorder)
        axes.add_artist(self)
        self.set_clip_on(False)  # what is clipped has no part in the layout

    def draw(self, renderer: Any) -> None:
        self._cancel.check()

    def get_tightbbox(self, renderer: Any = None) -> None:
        self._cancel.check()


def kripke_graphs(graphs: Sequence[KripkeGraph], cancel: CancelToken) -> bytes:
    """A panel a step: worlds in a ring, the actual one filled, an arrow for each world that an agent holds possible.

    Raises ResourceExhausted above MAX_ARROWS, before anything is drawn.
    """
    columns = min(3, max(1, len(graphs)))
    rows = math.ceil(len(graphs) / columns)
    agents = list(dict.fromkeys(agent for graph in graphs for agent in graph.edges))
    if (arrows := sum(len(edges) for graph in graphs for edges in graph.edges.values())) > MAX_ARROWS:
        raise ResourceExhausted(
            f"story: its models take {arrows:,} arrows, {MAX_ARROWS:,} at most in a picture; draw fewer lines, or a "
            "story of fewer agents",
            reason="PICTURE_TOO_LARGE",
        )

    def draw(figure: Figure) -> None:
        for place, graph in enumerate(graphs, 1):
            cancel.check()
            axes = figure.add_subplot(rows, columns, place)
            axes.set_axis_off()
            _draw_graph(axes, graph, agents, cancel)
        handles = [mpl.lines.Line2D([], [], color=_colour(number), label=agent) for number, agent in enumerate(agents)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, max(1, len(agents))))

    return svg(draw, (3.8 * columns, 3.1 * rows + 0.5))


def belief_timeline(
    lines: Sequence[str],
    chains: Sequence[str],
    believed: Sequence[Sequence[str | None]],
    thing: str,
    cancel: CancelToken,
) -> bytes:
    """Chains of agents by steps; a colour a container, grey where nobody can tell. believed: one row a chain."""
    containers = list(dict.fromkeys(cell for row in believed for cell in row if cell is not None))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, cells in enumerate(believed):
            cancel.check()
            runs = [(cell, len(list(same))) for cell, same in groupby(cells)]
            starts = accumulate((length for _, length in runs), initial=0)
            axes.broken_barh(
                [(start - 0.5, length) for start, (_, length) in zip(starts, runs, strict=False)],
                (row - 0.5, 1),
                facecolors=[UNKNOWN if cell is None else _colour(containers.index(cell)) for cell, _ in runs],
                linewidth=0,
            )
            Look(axes, cancel)
        axes.set_xlim(-0.5, len(lines) - 0.5)
        axes.set_ylim(len(chains) - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks(range(len(chains)), chains)
        # Texts and no tick labels: an axis is laid out in one go, texts with a look between them.
        below = axes.get_xaxis_transform() + ScaledTranslation(0, -0.06, figure.dpi_scale_trans)
        for column, line in enumerate(lines):
            cancel.check()
            axes.text(column, 0, _cut(line, 38), rotation=55, ha="right", va="top", fontsize=8, transform=below)
            if column % LABELS_AT_ONCE == 0:
                Look(axes, cancel, mpl.text.Text.zorder)
        axes.set_title(f"where is the {thing}?", loc="left")
        axes.vlines(
            [column - 0.5 for column in range(1, len(lines))], -0.5, len(chains) - 0.5, color="white", linewidth=1
        )
        axes.hlines([row - 0.5 for row in range(1, len(chains))], -0.5, len(lines) - 0.5, color="white", linewidth=1)
        marks = [Rectangle((0, 0), 1, 1, color=_colour(number)) for number in range(len(containers))]
        marks.append(Rectangle((0, 0), 1, 1, color=UNKNOWN))
        figure.legend(marks, [*containers, "cannot tell"], loc="outside upper right", ncols=min(4, len(containers) + 1))

    return svg(draw, (2.2 + 0.38 * len(lines), 2.9 + 0.3 * len(chains)))


def accuracy_plot(candidates: Sequence[int], methods: Mapping[str, Band], oracle: Sequence[float]) -> bytes:
    """Share of questions answered right by the number of candidates, with bands, and what no selector can beat."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (name, band) in enumerate(methods.items()):
            colour = _colour(number)
            axes.plot(candidates, band.mean, color=colour, marker="o", markersize=4, label=name)
            axes.fill_between(candidates, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(candidates, oracle, color=INK, linestyle="--", linewidth=1, label="oracle")
        axes.set_xscale("log", base=2)
        axes.set_xticks(candidates, [str(count) for count in candidates])
        axes.minorticks_off()
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("candidates N")
        axes.set_ylabel("questions answered right")
        axes.legend()

    return svg(draw, (5.4, 3.6))


def reliability_plot(scored: Sequence[float], right: Sequence[float], counts: Sequence[int]) -> bytes:
    """By bin of the score: the share of steps that are right; on the diagonal a score is a probability.

    scored: mean score in each bin; right: share of its steps that are right; counts: how many there are.
    """

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        filled = [index for index, count in enumerate(counts) if count]
        top.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        top.plot([scored[i] for i in filled], [right[i] for i in filled], color=COLOURS[0], marker="o", markersize=4)
        top.set_ylabel("share right")
        top.set_ylim(0, 1.02)
        width = 1 / max(1, len(counts))
        bottom.bar([(i + 0.5) * width for i in range(len(counts))], counts, width=0.9 * width, color=COLOURS[5])
        bottom.set_yscale("symlog")
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel("steps")
        bottom.set_xlabel("score of the step")
        bottom.set_xlim(0, 1)

    return svg(draw, (4.2, 4.2))


def mask_size_plot(sizes: Sequence[float], scores: Mapping[str, Band], perplexities: Mapping[str, Band]) -> bytes:
    """Theory-of-mind score and perplexity by the share of parameters perturbed; a line a kind of mask."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        for axes, curves, title in zip(
            panels, (scores, perplexities), ("theory-of-mind score", "perplexity"), strict=True
        ):
            for number, (name, band) in enumerate(curves.items()):
                colour = _colour(number)
                axes.plot(sizes, band.mean, color=colour, marker="o", markersize=4, label=name)
                axes.fill_between(sizes, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
            if all(size > 0 for size in sizes) and len(sizes) > 1:
                axes.set_xscale("log")
            axes.set_xlabel("share of parameters perturbed")
            axes.set_ylabel(title)
        panels[0].set_ylim(0, 1.02)
        panels[0].legend()

    return svg(draw, (7.6, 3.3))


def frequency_heat_map(norms: Sequence[Sequence[float]], heads: Sequence[str], title: str = "mean query norm") -> bytes:
    """Head x rotary frequency: how large the pair of dimensions is that rotates at it; from fast (left) to slow."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(np.asarray(norms, dtype=float), interpolation="nearest", aspect="auto", cmap="viridis")
        axes.set_xlabel("rotary pair, from the fastest frequency to the slowest")
        axes.set_yticks(range(len(heads)), heads)
        axes.tick_params(axis="y", labelsize=8)
        figure.colorbar(image, ax=axes, label=title)

    return svg(draw, (6.0, 1.3 + 0.22 * max(4, len(heads))))


def order_accuracy_plot(
    orders: Sequence[int], alone: Band, verified: Sequence[float], chance: Sequence[float], samples: int
) -> bytes:
    """A model's accuracy by order of belief: one answer, and the best of several under the exact checker."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(orders), dtype=float)
        below = [max(0.0, mean - low) for mean, low in zip(alone.mean, alone.low, strict=True)]
        above = [max(0.0, high - mean) for mean, high in zip(alone.mean, alone.high, strict=True)]
        axes.bar(places - 0.2, alone.mean, 0.38, yerr=[below, above], color=COLOURS[0], capsize=3, label="one answer")
        axes.bar(places + 0.2, verified, 0.38, color=COLOURS[2], label=f"any of {samples}, checked exactly")
        axes.plot(places, chance, color=INK, linestyle=":", marker="_", markersize=18, label="one guess")
        axes.set_xticks(places, [str(order) for order in orders])
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("order of belief (0: where it really is)")
        axes.set_ylabel("questions answered right")
        figure.legend(loc="outside upper center", ncols=3)

    return svg(draw, (5.4, 3.6))


def _draw_graph(axes: Axes, graph: KripkeGraph, agents: Sequence[str], cancel: CancelToken) -> None:
    count = len(graph.worlds)
    angles = [math.pi / 2 + 2 * math.pi * index / max(1, count) for index in range(count)]
    radius = 0.0 if count == 1 else 1.0
    size = min(1.0, 6 / max(1, count))  # of a world with its rings, so that neighbours keep apart
    spots = [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
    axes.set_xlim(-1.9, 1.9)
    axes.set_ylim(-1.6, 1.6)
    axes.set_title(_cut(graph.title, 44), loc="left", fontsize=8)
    rings = dict.fromkeys(range(count), 0)
    for agent, edges in graph.edges.items():
        cancel.check()
        Look(axes, cancel)
        colour, bend = _colour(agents.index(agent)), 0.05 + 0.05 * agents.index(agent)
        for start, end in edges:
            if start == end:
                rings[start] += 1
                ring = size * (0.16 + 0.055 * rings[start])
                axes.add_patch(mpl.patches.Circle(spots[start], ring, fill=False, color=colour, linewidth=size))
                continue
            arrow = FancyArrowPatch(
                spots[start],
                spots[end],
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=3 + 5 * size,
                shrinkA=14 * size,
                shrinkB=14 * size,
                color=colour,
                linewidth=0.4 + 0.6 * size,
            )
            axes.add_patch(arrow)
    for index, ((x, y), angle) in enumerate(zip(spots, angles, strict=True)):
        face = "#E69F00" if index == graph.actual else "white"
        axes.add_patch(
            mpl.patches.Circle((x, y), 0.16 * size, facecolor=face, edgecolor="#444444", linewidth=1.2 * size, zorder=3)
        )
        out = radius + size * (0.24 + 0.055 * rings[index])
        across, up = (math.cos(angle), math.sin(angle)) if count > 1 else (0.0, -1.0)
        side = "center" if abs(across) < 0.2 else "left" if across > 0 else "right"
        above = "center" if abs(up) < 0.5 else "bottom" if up > 0 else "top"
        axes.text(out * across, out * up, graph.worlds[index], ha=side, va=above, fontsize=7 if count > 6 else 8)


def _colour(number: int) -> str:
    """Six that all readers can tell apart, then others."""
    return COLOURS[number] if number < len(COLOURS) else f"C{(number - len(COLOURS)) % 10}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def some_of(count: int, most: int) -> list[int]:
    """All, or the first, the last and some between."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]
