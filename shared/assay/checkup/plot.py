"""How the plots of a report card look: SVG that takes its text colour from the page it stands in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Any colour that occurs nowhere else; it becomes the page's own.
INK = "#123456"
# Told apart by readers of every kind of colour vision, on white and on black (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "assay",  # the same figures give the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def svg(draw: Callable[[Figure], None], size_inches: tuple[float, float]) -> bytes:
    """What `draw` puts on a figure; the same figures give the same bytes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size_inches)
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue().replace(INK, "currentColor").encode()
