"""The section this service contributes to a model's report card."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from assay.artifacts.store import ArtifactStore
from assay.checkup.section import KIND, Figure, Plot, Section, Table
from assay.tom_verifier.v1 import steps_pb2 as own
from assay_tom_verifier.core.belief_probe import DOCUMENT, BeliefProbe
from assay_tom_verifier.report import Band, order_accuracy_plot

PACKAGES = ("assay-tom-verifier", "torch", "transformers")


def write_section(artifacts: ArtifactStore, request: own.WriteSectionStep) -> str:
    """Puts the section together from what was measured; returns its digest."""
    probe = BeliefProbe.from_json(artifacts.read(request.probe, DOCUMENT))
    plot = Plot(
        "orders.svg",
        "Accuracy by order of belief",
        f"One answer, and any of {probe.samples} under a verifier that knows the rules; dotted: a guess.",
    )
    section = Section(
        service="tom_verifier",
        title="Theory of mind",
        question="Does this model follow who believes what, and what could a verifier mend?",
        answer=_answer(probe),
        figures=tuple(_figures(probe)),
        tables=(_table(probe),),
        plots=(plot,),
        caveats=tuple(_caveats(probe)),
        lineage={"model": request.model, "belief-probe": request.probe},
    )
    drawn = order_accuracy_plot(
        [one.order for one in probe.orders],
        Band(
            [one.alone for one in probe.orders],
            [one.low for one in probe.orders],
            [one.high for one in probe.orders],
        ),
        [one.verified for one in probe.orders],
        [one.chance for one in probe.orders],
        probe.samples,
    )
    versions = {name: metadata.version(name) for name in PACKAGES}
    inputs = [request.model, request.probe]
    return artifacts.put(KIND, section.to_files({plot.file: drawn}), inputs=inputs, versions=versions)


def _answer(probe: BeliefProbe) -> str:
    known = [one for one in probe.orders if one.above]
    if not known:
        return (
            f"This model is at chance: at no order of belief is one answer better than a guess among the story's "
            f"containers ({_span([one.alone for one in probe.orders])} right, guessing {_span(_chances(probe))}). "
            "A verifier has nothing to mend here but luck."
        )
    orders = ", ".join(str(one.order) for one in known)
    return (
        f"One answer beats a guess at order {orders}: {_span([one.alone for one in known])} right, guessing "
        f"{_span([one.chance for one in known])}. With {probe.samples} answers and a verifier that knows the rules it "
        f"could reach {_span([one.verified for one in known])}, for {probe.samples} times the cost."
    )


def _figures(probe: BeliefProbe) -> Iterator[Figure]:
    for one in probe.orders:
        yield Figure(
            f"Right at order {one.order}",
            100 * one.alone,
            "%",
            100 * one.low,
            100 * one.high,
            f"one answer; guessing {100 * one.chance:.0f} %",
        )
    yield Figure(
        f"Right with {probe.samples} answers, checked exactly",
        100 * sum(one.verified for one in probe.orders) / len(probe.orders),
        "%",
        note=f"mean over orders; guesses would reach "
        f"{100 * sum(one.chance_verified for one in probe.orders) / len(probe.orders):.0f} %",
    )
    yield Figure("Cost of verification", float(probe.samples), "x tokens", note="the check itself reads none")


def _table(probe: BeliefProbe) -> Table:
    rows = [
        (
            one.order,
            round(one.alone, 3),
            round(one.low, 3),
            round(one.high, 3),
            round(one.chance, 3),
            round(one.latest, 3),
            round(one.verified, 3),
            round(one.chance_verified, 3),
        )
        for one in probe.orders
    ]
    return Table(
        "Orders of belief",
        (
            "order",
            "one answer",
            "low",
            "high",
            "a guess",
            "naming the latest container",
            f"any of {probe.samples}",
            f"any of {probe.samples} guesses",
        ),
        tuple(rows),
        f"Shares of {probe.stories} generated stories, right answers by the rules; 95 % t interval over stories. "
        f"{probe.tokens_per_answer:.0f} tokens are read for one answer.",
    )


def _caveats(probe: BeliefProbe) -> Iterator[str]:
    yield (
        f"Any of {probe.samples} answers is what no verifier can pass; a trained one reaches less "
        "(`assay tom-verifier train`)."
    )
    beaten = [one.order for one in probe.orders if one.latest > one.high]
    if beaten:
        yield f"Always naming the container that was named last does better at order {', '.join(map(str, beaten))}."
    yield (
        "Answers are odds over the containers that the object was in, not free text: a model that knows the answer but "
        "would not say it counts as knowing."
    )
    if probe.stories < 100:
        yield f"Only {probe.stories} stories were asked about; the intervals are wide."


def _chances(probe: BeliefProbe) -> list[float]:
    return [one.chance for one in probe.orders]


def _span(shares: list[float]) -> str:
    low, high = round(100 * min(shares)), round(100 * max(shares))
    return f"{low} %" if low == high else f"{low} to {high} %"
