"""The benchmark's one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.early_exit_parts.exits import ExitRow


def draw(rows: list[ExitRow], out: Path, workload: str = "code") -> None:
    """Left: agreement by depth. Right: layers saved by the best certified rule against tokens changed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.8), constrained_layout=True)
    shown = [row for row in rows if row.workload == workload and row.seed == min(each.seed for each in rows)]
    for index, row in enumerate(shown):
        style = {
            "color": pyplot.get_cmap("tab20")(index % 20),
            "label": row.model,
            "linestyle": "--" if "@" in row.model else "-",
        }
        left.plot(np.arange(1, row.depth + 1) / row.depth, row.agreement, marker=".", **style)
        if row.curve is not None:
            right.plot(100 * row.curve[0], row.curve[1], **style)
    left.set(xlabel="layer / layers", ylabel="share of tokens that have their answer", title=f"Agreement on {workload}")
    right.set(
        xlabel="tokens changed, %", ylabel="layers saved", xlim=(0, 10), ylim=(0, 1), title="Best rule over thresholds"
    )
    right.axvline(1.0, color="grey", linewidth=0.8)
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    right.grid(alpha=0.3)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)
