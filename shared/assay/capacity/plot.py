"""A simulated run over time, as SVG."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.capacity.outcome import Outcome, Sample
from assay.checkup.plot import COLOURS, svg


def plot_outcome(outcome: Outcome, title: str) -> bytes:
    """Arrivals a second, calls open, replicas (wanted: dashed), and GPUs and nodes; "simulated" stands over it."""

    def draw(figure: Figure) -> None:
        rate, held, replicas, nodes = figure.subplots(4, 1, sharex=True)
        hours = [sample.time_s / 3600 for sample in outcome.samples]
        for service, colour in zip(outcome.samples[0].open, COLOURS * 4, strict=False):
            pairs = list(pairwise(outcome.samples))
            per_s = [_rate(early, late, service) for early, late in pairs]
            rate.plot(hours[1:], per_s, color=colour, label=service, linewidth=1)
            held.plot(hours, [sample.open[service] for sample in outcome.samples], color=colour, linewidth=1)
            replicas.plot(hours, [sample.ready[service] for sample in outcome.samples], color=colour, linewidth=1)
            replicas.plot(
                hours, [sample.target[service] for sample in outcome.samples], "--", color=colour, linewidth=0.7
            )
        nodes.plot(hours, [sample.gpus for sample in outcome.samples], color=COLOURS[0], label="GPUs", linewidth=1)
        nodes.plot(hours, [sample.nodes for sample in outcome.samples], color=COLOURS[1], label="nodes", linewidth=1)
        _name(rate, "arrivals / s", legend=True)
        _name(held, "calls open")
        _name(replicas, "replicas\n(wanted: dashed)")
        _name(nodes, "bought", legend=True)
        nodes.set_xlabel("hours")
        figure.suptitle(f"simulated: {title}", fontsize=11)

    return svg(draw, (8.0, 7.5))


def _rate(early: Sample, late: Sample, service: str) -> float:
    return (late.arrived[service] - early.arrived[service]) / (late.time_s - early.time_s)


def _name(axes: Axes, label: str, *, legend: bool = False) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    if legend:
        # Above the panel: inside it would lie on what it explains.
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, borderaxespad=0.2)
