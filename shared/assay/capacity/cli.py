"""`assay capacity`: replicas, GPUs, nodes and money for a traffic, and what autoscaling makes of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from assay.capacity.figures import Figure
from assay.capacity.specification import Specification
from assay.cli.session import print_json
from assay.cli.tables import print_table
from assay.errors import FailedPrecondition, InvalidInput

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
SET = click.option(
    "--set", "changes", multiple=True, metavar="PATH=VALUE", help="Over the file's own; may be repeated."
)
SIMULATED = "SIMULATED: nothing below was measured on a cluster."


@click.group()
def capacity() -> None:
    """Replicas, GPUs, nodes and cost for a traffic; autoscaling simulated. FILE: see docs/capacity.md."""


def _json(function: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return run


def _simulated(function: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--hours", type=float, default=1.0, show_default=True, help="Simulated time.")
    @click.option(
        "--warmup", "warmup_s", type=float, default=600.0, show_default=True, help="Seconds left out of times."
    )
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return run


@capacity.command("plan")
@FILE
@SET
@click.option(
    "--values-out", type=click.Path(dir_okay=False, path_type=Path), help="Write values of charts/assay there."
)
@_json
def plan_command(file: Path, changes: tuple[str, ...], values_out: Path | None, as_json: bool) -> None:
    """Reckons what the traffic of FILE needs, with every assumption and its source."""
    from assay.capacity.plan import plan
    from assay.capacity.read import read_specification
    from assay.capacity.values import to_yaml, values_of

    specification, figures = read_specification(file, changes)
    planned = plan(specification)
    if values_out is not None:
        values_out.write_text(to_yaml(values_of(specification, planned)) + "\n", encoding="utf-8")
    if as_json:
        print_json({"plan": asdict(planned), "currency": specification.currency, "figures": _figures(figures)})
        return
    money = specification.currency
    print_table(
        (
            "service", "replicas", "GPUs", "utilisation", "wait percentile", "random routing", "answer", "open",
            "fronts", f"{money}/h", f"{money}/1,000",
        ),
        [
            (
                each.name, each.replicas, each.gpus, f"{each.utilisation:.0%}", _seconds(each.wait_percentile_s),
                _seconds(each.wait_random_s),
                _seconds(each.answer_s), f"{each.open_calls:.1f}", f"{each.fronts.replicas} ({each.fronts.why})",
                f"{each.cost_per_hour:.2f}", f"{each.cost_per_thousand:.2f}",
            )
            for each in planned.services
        ],
        right=(
            "replicas", "GPUs", "utilisation", "wait percentile", "random routing", "answer", "open", f"{money}/h",
            f"{money}/1,000",
        ),
    )  # fmt: skip
    click.echo()
    print_table(
        ("pool", "nodes", "of them spare", "more while upgrading", "GPUs used", "GPUs bought", f"{money}/h"),
        [
            (
                pool.name, pool.base_nodes + pool.spare_nodes, pool.spare_nodes, pool.upgrade_nodes, pool.gpus_used,
                pool.gpus_bought, f"{pool.cost_per_hour:.2f}",
            )
            for pool in planned.pools
        ],
        right=("nodes", "of them spare", "more while upgrading", "GPUs used", "GPUs bought", f"{money}/h"),
    )  # fmt: skip
    for each in planned.services:
        if each.memory is not None:
            click.echo(
                f"\n{each.name}: {each.model} takes {each.memory.weight_bytes / 2**30:.2f} GiB, a sequence "
                f"{each.memory.sequence_bytes / 2**20:.0f} MiB; {each.memory.room} sequences fit a replica"
            )
    for finding in planned.findings:
        click.echo(f"\n! {finding}")
    for limit in planned.broken:
        click.echo(f"\n! {limit.about}: {limit.reached:g} of {limit.most:g} ({limit.source}); {limit.then}")
    click.echo("\nWhat it stands on (*: each that has no line of its own):")
    print_table(("figure", "value", "basis", "source"), _grouped(figures), right=("value",))


@capacity.command()
@FILE
@SET
@_simulated
@click.option("--load", type=float, default=1.0, show_default=True, help="Factor on all traffic.")
@click.option("--upgrade", multiple=True, metavar="SERVICE@SECONDS", help="Upgrade a RayService then; may be repeated.")
@click.option(
    "--plot", "plot_to", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG over time there."
)
@_json
def simulate(
    file: Path, changes: tuple[str, ...], hours: float, warmup_s: float, seed: int, load: float,
    upgrade: tuple[str, ...], plot_to: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Lets the cluster of FILE run on paper: waiting, failures, GPUs, cost, and which bounds were met."""
    from assay.capacity.read import read_specification
    from assay.capacity.simulation import Simulation

    specification, figures = read_specification(file, changes)
    upgrades = dict(_upgrade(each) for each in upgrade)
    outcome = Simulation(
        specification, seed=seed, hours=hours, load=load, warmup_s=warmup_s, upgrades=upgrades
    ).run()  # fmt: skip
    if plot_to is not None:
        try:
            from assay.capacity.plot import plot_outcome
        except ModuleNotFoundError as error:
            raise FailedPrecondition(f"plots need {error.name}; pip install 'assay-platform[plots]'") from error
        title = specification.title or file.stem
        plot_to.write_bytes(plot_outcome(outcome, f"{title}, load {load:g}, seed {seed}"))
    if as_json:
        print_json(outcome.to_json() | {"figures": _figures(figures)})
        return
    click.echo(SIMULATED)
    _print_services(outcome)
    click.echo(
        f"\n{outcome.node_hours:.1f} node-hours, cost {outcome.cost:.2f} {specification.currency}, GPU utilisation "
        f"{outcome.gpu_busy_share:.0%} of what was bought, {outcome.nodes_failed} nodes failed, {outcome.events} events"
    )
    _print_bounds(outcome)


@capacity.command()
@FILE
@SET
@_simulated
@click.option("--loads", default="1,2,4,8,16", show_default=True, help="Factors on all traffic.")
@_json
def sweep(
    file: Path, changes: tuple[str, ...], hours: float, warmup_s: float, seed: int, loads: str, as_json: bool
) -> None:
    """Simulates more and more traffic: what gives way first, and what then."""
    from assay.capacity.outcome import BOUNDS
    from assay.capacity.read import read_specification
    from assay.capacity.sweep import sweep as run_sweep
    from assay.cli.progress import meter

    try:
        factors = [float(each) for each in loads.split(",")]
    except ValueError:
        raise InvalidInput("loads", f"{loads!r}; numbers with commas between, e.g. 1,2,4") from None
    specification, _ = read_specification(file, changes)
    with meter("simulating") as progress:
        steps = run_sweep(
            specification, factors, seed=seed, hours=hours, warmup_s=warmup_s,
            done=lambda count: progress(count, len(factors)),
        )  # fmt: skip
    if as_json:
        rows = [{"load": s.load, "gave": s.gave, "outcome": s.outcome.to_json(samples=False)} for s in steps]
        print_json({"simulated": True, "steps": rows})
        return
    click.echo(SIMULATED)
    print_table(
        ("load", "service", "wait p50", "wait p99", "failed", "replicas", "nodes", "gives way here for the first time"),
        [
            (
                f"{step.load:g}", each.name, _seconds(each.wait_s.get("p50")), _seconds(each.wait_s.get("p99")),
                f"{each.failed_share:.2%}", f"{each.replicas_mean:.0f} (most {each.replicas_most})",
                f"{step.outcome.peaks['kubernetes_nodes']:.0f}", ", ".join(step.gave) if not number else "",
            )
            for step in steps
            for number, each in enumerate(step.outcome.services)
        ],
        right=("load", "wait p50", "wait p99", "failed", "nodes"),
    )  # fmt: skip
    met = {bound.name for step in steps for bound in step.outcome.bounds}
    for name in (name for name in BOUNDS if name in met):
        click.echo(f"\n{name}: {BOUNDS[name][0]}. Then: {BOUNDS[name][1]}.")
    for limit in {each.name: each for step in steps for each in step.outcome.broken}.values():
        click.echo(f"\n{limit.name}: {limit.about}, {limit.most:g} ({limit.source}). Then: {limit.then}.")


@capacity.command()
@click.option("--arrivals", type=click.IntRange(1000, 10**8), default=200_000, show_default=True, help="Of each line.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_json
def check(arrivals: int, seed: int, as_json: bool) -> None:
    """Holds the queueing formulas against simulated lines, and prints their error."""
    from assay.capacity.check import table

    rows = table(arrivals, seed)
    if as_json:
        print_json({"rows": [asdict(row) for row in rows]})
        return
    print_table(
        ("servers", "utilisation", "arrivals scv", "service scv", "formula", "simulated, 95 %", "error", "p99 error"),
        [
            (
                row.servers, f"{row.utilisation:.0%}", f"{row.arrival_scv:g}", f"{row.service_scv:g}",
                f"{row.formula_s:.4f}", f"{row.simulated.mean_s:.4f} +- {row.simulated.mean_half:.4f}",
                _error(row.error) + ("" if row.sure else " (within)"), _error(row.p99_error),
            )
            for row in rows
        ],
        right=("servers", "utilisation", "arrivals scv", "service scv", "formula", "error", "p99 error"),
    )  # fmt: skip
    click.echo(
        "\nMean waits in service times, by Allen-Cunneen and simulated. (within): inside the interval. -: nobody waits."
    )


@capacity.command()
@FILE
@SET
@click.argument("recorded", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--service", required=True, help="Whose calls were recorded.")
@click.option("--method", default="", help="Only calls of a front's log whose method ends so.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_json
def compare(
    file: Path, changes: tuple[str, ...], recorded: Path, service: str, method: str, seed: int, as_json: bool
) -> None:
    """Simulates the arrivals of RECORDED, and holds the times against those recorded.

    RECORDED: a front's log (JSON lines), or a CSV of seconds,milliseconds.
    """
    from assay.capacity.arrivals import arrivals_of, read_calls
    from assay.capacity.compare import compare as hold
    from assay.capacity.read import read_specification
    from assay.capacity.simulation import Simulation

    specification, _ = read_specification(file, changes)
    needs = specification.services.get(service)
    if needs is None or needs.calls is None:
        raise InvalidInput("service", f"{service} has no calls in {file.name}")
    calls = read_calls(recorded, method)
    values = {"kind": "recorded", "file": str(recorded), "method": method}
    trace = replace(needs.calls, arrivals=arrivals_of(values, "recorded", needs.calls.per_s, {}))
    alone: Specification = replace(specification, services={service: replace(needs, calls=trace)})
    hours = (calls[-1].arrived + 60) / 3600 if calls else 1.0
    outcome = Simulation(alone, seed=seed, hours=hours).run()
    found = hold(calls, outcome.services[0].answer_s)
    if as_json:
        print_json({"simulated": True, "compared": asdict(found), "ratios": found.ratios()})
        return
    click.echo(f"{found.calls} calls, {found.failed} failed, {found.per_s:.1f}/s, arrivals scv {found.arrival_scv:.2f}")
    ratios = found.ratios()
    print_table(
        ("", "recorded ms", "simulated ms", "simulated / recorded"),
        [
            (name, f"{value:.2f}", f"{found.simulated_ms.get(name, 0):.2f}", f"{ratios.get(name, 0):.2f}")
            for name, value in found.recorded_ms.items()
        ],
        right=("recorded ms", "simulated ms", "simulated / recorded"),
    )


def _print_services(outcome: Any) -> None:
    print_table(
        (
            "service", "arrived", "failed", "wait p50", "wait p99", "p99.9", "answer p50", "answer p99", "replicas",
            "utilisation", "operations",
        ),
        [
            (
                each.name, each.tally.arrived, f"{each.failed_share:.3%}", *_three(each.wait_s),
                _seconds(each.answer_s.get("p50")), _seconds(each.answer_s.get("p99")),
                f"{each.replicas_mean:.1f} (most {each.replicas_most})", f"{each.busy_share:.0%}",
                _operations(each),
            )
            for each in outcome.services
        ],
        right=("arrived", "failed", "wait p50", "wait p99", "p99.9", "answer p50", "answer p99", "utilisation"),
    )  # fmt: skip


def _operations(each: Any) -> str:
    if not each.tally.operations:
        return ""
    done = f"{each.tally.operations_done} of {each.tally.operations}"
    return f"{done}, p50 {_seconds(each.operation_s.get('p50'))}, p99 {_seconds(each.operation_s.get('p99'))}"


def _print_bounds(outcome: Any) -> None:
    for bound in outcome.bounds:
        click.echo(
            f"\n! {bound.first_s:.0f} s, {bound.service}: {bound.about} ({bound.times} times). Then: {bound.then}."
        )
    for limit in outcome.broken:
        click.echo(f"\n! {limit.about}: {limit.reached:g} of {limit.most:g} ({limit.source}). Then: {limit.then}.")


def _error(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.0%}"


def _three(values: Mapping[str, float]) -> tuple[str, str, str]:
    return _seconds(values.get("p50")), _seconds(values.get("p99")), _seconds(values.get("p99.9"))


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def _grouped(figures: Mapping[str, Figure]) -> list[tuple[str, str, str, str]]:
    """Rows with what is the same for every service or pool said once, assumptions first."""
    same: dict[tuple[str, Figure], list[str]] = {}
    for path, figure in figures.items():
        top, *rest = path.split(".")
        grouped = top in ("services", "pools")
        name = ".".join([top, "*", *rest[1:]]) if grouped else path
        same.setdefault((name, figure), []).append(rest[0] if grouped else "")
    rows = []
    for (name, figure), members in same.items():
        shown = name if len(members) > 1 else name.replace("*", members[0])
        rows.append((shown, f"{figure.value:g}", figure.basis, figure.source))
    order = {basis: number for number, basis in enumerate(("assumed", "given", "documented", "measured"))}
    return sorted(rows, key=lambda row: (order[row[2]], row[0]))


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {path: asdict(figure) for path, figure in figures.items()}


def _upgrade(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("@")
    try:
        return name, float(seconds)
    except ValueError:
        raise InvalidInput("upgrade", f"{text!r}; SERVICE@SECONDS, e.g. moe_router@1800") from None
