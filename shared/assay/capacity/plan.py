"""From traffic to replicas, GPUs, nodes and money."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from assay.capacity.arrivals import Arrivals
from assay.capacity.batching import batch_wait, replicas_for
from assay.capacity.limits import Broken, broken
from assay.capacity.memory import GIB, MemoryFit, memory_fit
from assay.capacity.packing import Load, nodes_for
from assay.capacity.queueing import servers_for, wait
from assay.capacity.specification import Calls, Margin, Operations, Pool, ServiceNeeds, Specification
from assay.errors import InvalidInput


@dataclass(frozen=True)
class PlannedFronts:
    """replicas: of them; why: "calls a second", "calls in flight" or "operations at once", whichever needs most."""

    replicas: int
    why: str


@dataclass(frozen=True)
class PlannedService:
    """replicas: that meet the targets with the traffic as given. open_calls: in flight, by Little's law.

    wait_percentile_s: of the wait for a place, one line before all replicas; 0.0 where fewer than 1 - percentile wait
    at all. wait_random_s: the same where each call goes to a replica by chance, which is what many HAProxies that do
    not know of each other's calls come to. operation_s: mean time of an operation, None without any.
    ongoing: what autoscaling should aim at; the chart takes whole numbers.
    """

    name: str
    model: str
    replicas: int
    gpus: int
    utilisation: float
    wait_share: float
    wait_mean_s: float | None
    wait_percentile_s: float
    wait_random_s: float
    answer_s: float
    open_calls: float
    operation_s: float | None
    ongoing: float
    memory: MemoryFit | None
    fronts: PlannedFronts
    cost_per_hour: float
    cost_per_thousand: float


@dataclass(frozen=True)
class PlannedPool:
    """nodes: that hold the replicas with `spare` of them lost. upgrade_nodes: more of them while one upgrade runs."""

    name: str
    base_nodes: int
    spare_nodes: int
    upgrade_nodes: int
    gpus_used: int
    gpus_bought: int
    quota_gpus: int
    cost_per_hour: float


@dataclass(frozen=True)
class Plan:
    """findings: what does not fit, in words that say what to do."""

    services: tuple[PlannedService, ...]
    pools: tuple[PlannedPool, ...]
    cost_per_hour: float
    findings: tuple[str, ...]
    broken: tuple[Broken, ...]


def plan(specification: Specification) -> Plan:
    """The plan for traffic that stays as the file gives it; what happens while it changes is `simulate`'s matter."""
    margin = specification.margin
    bare = {
        name: _replicas(needs, specification.pools[needs.pool], margin)
        for name, needs in specification.services.items()
    }
    pools = tuple(_pool(pool, specification, bare) for pool in specification.pools.values())
    costs = {pool.name: pool for pool in pools}
    services = tuple(
        _service(needs, specification.pools[needs.pool], margin, bare[name], costs[needs.pool])
        for name, needs in specification.services.items()
    )
    peaks = {
        "kubernetes_nodes": float(sum(pool.base_nodes + pool.spare_nodes + pool.upgrade_nodes for pool in pools)),
        "kubernetes_pods": float(sum(2 * each.replicas + 1 + each.fronts.replicas for each in services)),
        "ray_nodes": float(max(each.replicas + 1 for each in services)),
        "serve_replicas": float(max(each.replicas for each in services)),
        "serve_replicas_small_head": float(max(each.replicas for each in services)),
    }
    return Plan(
        services, pools, sum(pool.cost_per_hour for pool in pools), _findings(specification, services, pools),
        tuple(broken(peaks)),
    )  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """Steps a second on the replicas, and one step's mean and squared coefficient of variation."""

    rate: float
    step_s: float
    step_scv: float
    arrival_scv: float


def mix_of(calls: Calls | None, operations: Operations | None) -> Mix:
    """Calls and operations' steps in one line; the second moments of its parts add up."""
    parts = []
    if calls is not None:
        parts.append((calls.per_s, calls.step_s, calls.step_scv, calls.arrival_scv))
    if operations is not None:
        rate = operations.per_hour * operations.steps / 3600
        parts.append((rate, operations.step_s, operations.step_scv, 1.0))
    rate = sum(part[0] for part in parts)
    mean = sum(part[0] * part[1] for part in parts) / rate
    square = sum(part[0] * part[1] ** 2 * (1 + part[2]) for part in parts) / rate
    return Mix(
        rate, mean, max(0.0, square / mean**2 - 1) if mean else 0.0, sum(part[0] * part[3] for part in parts) / rate
    )


def _replicas(needs: ServiceNeeds, pool: Pool, margin: Margin) -> int:
    calls = needs.calls
    if needs.batch is not None and calls is not None:
        _fit(needs, pool, margin)
        try:
            return replicas_for(
                needs.batch, calls.per_s, calls.prompt_tokens, calls.answer_tokens, wait_s=calls.wait_s,
                percentile=calls.percentile, utilisation=margin.utilisation, token_s=calls.token_s,
            )  # fmt: skip
        except InvalidInput as error:
            raise _within(needs, error, "calls.") from None
    _fit(needs, pool, margin)
    mix = mix_of(calls, needs.operations)
    try:
        servers = servers_for(
            mix.rate, mix.step_s, wait_s=calls.wait_s if calls else math.inf,
            percentile=calls.percentile if calls else 0.5,
            utilisation=margin.utilisation, arrival_scv=mix.arrival_scv, service_scv=mix.step_scv,
        )  # fmt: skip
    except InvalidInput as error:
        if calls is None:
            error = InvalidInput("per_hour", error.violations[0].description)
        raise _within(needs, error, "calls." if calls else "operations.") from None
    return math.ceil(servers / needs.slots)


def _fit(needs: ServiceNeeds, pool: Pool, margin: Margin) -> MemoryFit | None:
    """None without a model. Raises InvalidInput where the sequences of a full replica do not fit."""
    if needs.model is None:
        return None
    calls, batch = needs.calls, needs.batch
    tokens = calls.prompt_tokens + calls.answer_tokens if calls is not None else 0.0
    held = batch.most if batch is not None else needs.slots
    try:
        fit = memory_fit(
            needs.model, gpus=needs.gpus, gpu_bytes=pool.gpu_memory_gib * GIB, usable=margin.memory_usable,
            reserve_bytes=margin.reserve_gib * GIB, tokens=tokens,
        )  # fmt: skip
    except InvalidInput as error:
        raise _within(needs, error) from None
    if batch is not None and fit.room < held:
        raise InvalidInput(
            f"services.{needs.name}.batch.most",
            f"is {held}, and beside the weights {fit.room} sequences of {tokens:g} tokens fit; lower it",
        )
    return fit


def _within(needs: ServiceNeeds, error: InvalidInput, table: str = "") -> InvalidInput:
    violation = error.violations[0]
    return InvalidInput(f"services.{needs.name}.{table}{violation.field}", violation.description)


@dataclass(frozen=True)
class Line:
    """How calls and steps wait; mean_s is None where replicas batch. random_s: the percentile, replicas by chance."""

    utilisation: float
    share: float
    mean_s: float | None
    percentile_s: float
    random_s: float
    answer_s: float
    held: float


def _line(needs: ServiceNeeds, replicas: int) -> Line:
    calls, batch = needs.calls, needs.batch
    percentile = calls.percentile if calls is not None else 0.99
    if batch is not None and calls is not None:
        found, alone = (
            batch_wait(
                batch, count, calls.per_s * count / replicas, calls.prompt_tokens, calls.answer_tokens,
                percentile=percentile,
            )
            for count in (replicas, 1)
        )  # fmt: skip
        return Line(
            found.utilisation, found.waits, None, found.wait_percentile_s, alone.wait_percentile_s, found.answer_s,
            found.held,
        )  # fmt: skip
    mix = mix_of(calls, needs.operations)
    spread = {"arrival_scv": mix.arrival_scv, "service_scv": mix.step_scv}
    line = wait(replicas * needs.slots, mix.rate, mix.step_s, **spread)
    # Poisson arrivals that are split by chance are Poisson again.
    random = wait(needs.slots, mix.rate / replicas, mix.step_s, **spread)
    step_s = calls.step_s if calls is not None else mix.step_s
    return Line(
        line.utilisation, line.probability, line.mean_s, line.percentile(percentile), random.percentile(percentile),
        step_s + line.mean_s, mix.rate * (mix.step_s + line.mean_s) / replicas,
    )  # fmt: skip


def _service(needs: ServiceNeeds, pool: Pool, margin: Margin, replicas: int, cost: PlannedPool) -> PlannedService:
    calls, operations = needs.calls, needs.operations
    line = _line(needs, replicas)
    operation_s = None
    if operations is not None:
        turns = math.ceil(operations.steps / operations.at_once)
        operation_s = turns * (operations.step_s + (line.mean_s or 0.0))
    gpus = replicas * needs.gpus
    price = cost.cost_per_hour * (gpus / cost.gpus_used if cost.gpus_used else 1.0)
    asked = (calls.per_s * 3600 if calls else 0.0) + (operations.per_hour if operations else 0.0)
    rate = calls.per_s if calls is not None else mix_of(None, operations).rate
    return PlannedService(
        name=needs.name, model=needs.model.name if needs.model else "", replicas=replicas, gpus=gpus,
        utilisation=line.utilisation, wait_share=line.share, wait_mean_s=line.mean_s,
        wait_percentile_s=line.percentile_s, wait_random_s=line.random_s, answer_s=line.answer_s,
        open_calls=rate * line.answer_s, operation_s=operation_s, ongoing=line.held, memory=_fit(needs, pool, margin),
        fronts=_fronts(needs, line.answer_s, operation_s), cost_per_hour=price, cost_per_thousand=price / asked * 1000,
    )  # fmt: skip


def _fronts(needs: ServiceNeeds, answer_s: float, operation_s: float | None) -> PlannedFronts:
    front, calls, operations = needs.front, needs.calls, needs.operations
    wanted = {"least that the file asks for": front.replicas}
    steps = (calls.per_s if calls else 0.0) + (operations.per_hour * operations.steps / 3600 if operations else 0.0)
    # What HPA settles at: `cpu_percent` of the cores asked for, by the calls' own cost.
    wanted["calls a second"] = math.ceil(steps / front.calls_per_core_s / (front.cpu * front.cpu_percent / 100) - 1e-9)
    if calls is not None:
        # A Poisson number of calls is open (Palm 1943 for M/G/inf): three deviations above its mean.
        load = calls.per_s * answer_s
        wanted["calls in flight"] = math.ceil((load + 3 * math.sqrt(load)) / front.in_flight)
    if operations is not None and operation_s is not None:
        load = operations.per_hour / 3600 * operation_s
        wanted["operations at once"] = math.ceil((load + 3 * math.sqrt(load)) / front.running)
    why = max(wanted, key=lambda name: wanted[name])
    return PlannedFronts(max(1, wanted[why]), why)


def _pool(pool: Pool, specification: Specification, replicas: Mapping[str, int]) -> PlannedPool:
    margin = specification.margin
    loads = [Load(needs, replicas[name]) for name, needs in specification.services.items() if needs.pool == pool.name]
    base = nodes_for(pool, loads)
    spare = margin.lost_nodes if base else 0
    if margin.lost_zones:
        if pool.zones <= margin.lost_zones:
            raise InvalidInput(f"pools.{pool.name}.zones", f"is {pool.zones}; more than margin.lost_zones")
        spare = max(spare, math.ceil(base / (pool.zones - margin.lost_zones)) * pool.zones - base)
    doubled = [load for load in loads if load.needs.upgrade == "NewCluster"]
    alone = [nodes_for(pool, [load]) for load in doubled]
    upgrade = {"one": max(alone, default=0), "all": nodes_for(pool, doubled), "none": 0}[margin.upgrades]
    return PlannedPool(
        pool.name, base, spare, upgrade, sum(load.count * load.needs.gpus for load in loads),
        (base + spare) * pool.gpus_per_node, pool.quota_gpus, (base + spare) * pool.price_per_node_hour,
    )  # fmt: skip


def _findings(
    specification: Specification, services: tuple[PlannedService, ...], pools: tuple[PlannedPool, ...]
) -> tuple[str, ...]:
    found = []
    for pool in pools:
        size = specification.pools[pool.name].gpus_per_node
        peak = pool.gpus_bought + pool.upgrade_nodes * size
        if pool.gpus_bought > pool.quota_gpus:
            found.append(f"pools.{pool.name}: {pool.gpus_bought} GPUs against a quota of {pool.quota_gpus}; raise it")
        elif peak > pool.quota_gpus:
            found.append(
                f"pools.{pool.name}: {peak} GPUs while an upgrade runs against a quota of {pool.quota_gpus}; raise it "
                'for that time, or set upgrade = "None", which takes the old cluster down first'
            )
    for each in services:
        needs = specification.services[each.name]
        found += _changing(needs, each)
        if each.fronts.replicas > needs.front.max_replicas:
            found.append(
                f"services.{each.name}: {each.fronts.replicas} fronts for its {each.fronts.why}, and HPA stops at "
                f"{needs.front.max_replicas}; raise front.autoscaling.max"
            )
        elif each.fronts.replicas > needs.front.replicas and each.fronts.why not in ("calls a second",):
            found.append(
                f"services.{each.name}: {each.fronts.replicas} fronts for its {each.fronts.why}; HPA watches the CPU "
                f"and will not add them, so set front.replicas to {each.fronts.replicas}"
            )
    return tuple(found)


def _changing(needs: ServiceNeeds, planned: PlannedService) -> list[str]:
    """What the formulas do not see: traffic that is not the same all the time."""
    calls, operations = needs.calls, needs.operations
    servers = planned.replicas * needs.slots
    found = []
    if calls is not None:
        # What one call a second more takes of all replicas.
        share = planned.utilisation / calls.per_s if needs.batch is not None else calls.step_s / servers
        found.append(_peak(f"services.{needs.name}.calls", calls.arrivals, calls.per_s, share, planned))
    if operations is not None:
        share = operations.steps * operations.step_s / servers
        rate = operations.per_hour / 3600
        found.append(_peak(f"services.{needs.name}.operations", operations.arrivals, rate, share, planned))
    return [each for each in found if each]


def _peak(path: str, arrivals: Arrivals, rate: float, share: float, planned: PlannedService) -> str:
    """The finding for one process around `rate` a second; empty for Poisson arrivals."""
    if arrivals.kind == "poisson":
        return ""
    factor, unit, name = (3600, "an hour", "per_hour") if path.endswith("operations") else (1, "a second", "per_s")
    reckoned = f"the plan reckons with Poisson arrivals of {rate * factor:g} {unit}"
    peak = arrivals.peak_per_s
    if peak is None:
        return f"{path}.arrivals: recorded, as they came; {reckoned}, and `simulate` goes by the recording"
    if math.isinf(peak):
        return f"{path}.arrivals: {arrivals.kind}, many at one moment; {reckoned} alone, and `simulate` has both"
    load = planned.utilisation + (peak - rate) * share
    said = (
        f"{path}.arrivals: {arrivals.kind}, {peak * factor:g} {unit} at the peak, {load * 100:.0f} % of what "
        f"{planned.replicas} replicas serve; {reckoned}, so look at the waits with `simulate`"
    )
    return said if load < 1 else f"{said}, or plan with {path.rpartition('.')[2]}.{name} = {peak * factor:g}"
