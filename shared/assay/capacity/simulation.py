"""A cluster on paper: discrete events, one seed one course."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from random import Random

from assay.capacity.events import Events
from assay.capacity.limits import broken
from assay.capacity.nodes import NodePool
from assay.capacity.outcome import BOUNDS, Bound, Outcome, Sample, ServiceOutcome, percentiles
from assay.capacity.packing import Load, nodes_for
from assay.capacity.plan import plan
from assay.capacity.service_run import ServiceRun
from assay.capacity.specification import Specification
from assay.errors import InvalidInput

SAMPLES = 360


class Simulation:
    """Begins with the replicas that `plan` gives for the file's traffic, within the bounds of autoscaling.

    load: factor on all traffic. upgrades: services whose RayService is upgraded, and when [s].
    """

    def __init__(
        self,
        specification: Specification,
        *,
        seed: int = 0,
        hours: float = 1.0,
        load: float = 1.0,
        warmup_s: float = 0.0,
        upgrades: Mapping[str, float] | None = None,
    ) -> None:
        if hours <= 0 or load <= 0 or warmup_s >= hours * 3600:
            raise InvalidInput(
                "hours", f"{hours:g} h at load {load:g} after {warmup_s:g} s; all positive, some time left"
            )
        self.specification, self.seed, self.hours, self.load, self.warmup_s = specification, seed, hours, load, warmup_s
        self.events = Events()
        self._bounds: dict[tuple[str, str], list[float]] = {}
        self._peaks: dict[str, float] = {}
        self._samples: list[Sample] = []
        self._ready_s = dict.fromkeys(specification.services, 0.0)
        self._most = dict.fromkeys(specification.services, 0)
        self.pools = {
            name: NodePool(pool, specification.cluster, self.events, Random(f"{seed}/{name}"), self._met_quota(name))
            for name, pool in specification.pools.items()
        }
        self.services = self._begin()
        for name, time in (upgrades or {}).items():
            if name not in self.services:
                raise InvalidInput("upgrade", f"{name} is no service of the file")
            self.events.at(time, self.services[name].upgrade)
        self._every_s = hours * 3600 / SAMPLES
        self.events.at(0.0, self._sample)

    def run(self) -> Outcome:
        self.events.run(self.hours * 3600)
        for pool in self.pools.values():
            pool.count_time()
        gpu_s = sum(pool.node_s * pool.pool.gpus_per_node for pool in self.pools.values())
        busy_s = sum(run.busy_s() * run.needs.gpus for run in self.services.values())
        return Outcome(
            seed=self.seed,
            hours=self.hours,
            load=self.load,
            services=tuple(self._outcome(name) for name in self.services),
            bounds=self._met_bounds(),
            broken=tuple(broken(self._peaks)),
            peaks=self._peaks,
            cost=sum(pool.node_s / 3600 * pool.pool.price_per_node_hour for pool in self.pools.values()),
            node_hours=sum(pool.node_s for pool in self.pools.values()) / 3600,
            gpu_busy_share=busy_s / gpu_s if gpu_s else 0.0,
            nodes_failed=sum(pool.failed for pool in self.pools.values()),
            events=self.events.count,
            samples=tuple(self._samples),
        )

    def _begin(self) -> dict[str, ServiceRun]:
        specification = self.specification
        planned = {each.name: each.replicas for each in plan(specification).services}
        initial = {
            name: max(needs.scaling.min_replicas, min(needs.scaling.max_replicas, planned[name]))
            for name, needs in specification.services.items()
        }
        for name, pool in self.pools.items():
            inside = [needs for needs in specification.services.values() if needs.pool == name]
            count = nodes_for(pool.pool, [Load(needs, initial[needs.name]) for needs in inside])
            if pool.pool.gpus_per_node:
                count = min(count, pool.pool.quota_gpus // pool.pool.gpus_per_node)
            pool.begin_with(count, {needs.name for needs in inside})
        return {
            name: ServiceRun(
                needs, specification.cluster, self.pools[needs.pool], self.events, str(self.seed), self._met,
                load=self.load, initial=initial[name], warmup_s=self.warmup_s,
            )
            for name, needs in specification.services.items()
        }  # fmt: skip

    def _met(self, bound: str, service: str) -> None:
        entry = self._bounds.setdefault((bound, service), [self.events.now, 0])
        entry[1] += 1

    def _met_quota(self, pool: str) -> Callable[[str], None]:
        return lambda bound: self._met(bound, f"pool {pool}")

    def _met_bounds(self) -> tuple[Bound, ...]:
        found = [
            Bound(name, service, first, int(times), *BOUNDS[name])
            for (name, service), (first, times) in self._bounds.items()
        ]
        return tuple(sorted(found, key=lambda bound: bound.first_s))

    def _sample(self, _: object) -> None:
        counts = {name: run.count() for name, run in self.services.items()}
        nodes = sum(len(pool.nodes) for pool in self.pools.values())
        for name, (ready, _target, _pods) in counts.items():
            self._ready_s[name] += ready
            self._most[name] = max(self._most[name], ready)
        replicas = max(ready for ready, _, _ in counts.values())
        peaks = {
            "kubernetes_nodes": nodes,
            "kubernetes_pods": sum(pods + 1 for _, _, pods in counts.values())
            + sum(run.fronts.ready for run in self.services.values()),
            "ray_nodes": max(run.largest() for run in self.services.values()),
            "serve_replicas": replicas,
            "serve_replicas_small_head": replicas,
            "gpus": sum(pool.gpus for pool in self.pools.values()),
        }
        self._peaks = {name: max(float(value), self._peaks.get(name, 0.0)) for name, value in peaks.items()}
        self._samples.append(
            Sample(
                self.events.now, nodes, int(peaks["gpus"]),
                {name: run.tally.open for name, run in self.services.items()},
                {name: count[0] for name, count in counts.items()},
                {name: count[1] for name, count in counts.items()},
                {name: run.fronts.ready for name, run in self.services.items()},
                {name: run.tally.arrived + run.tally.operations for name, run in self.services.items()},
            )
        )  # fmt: skip
        self.events.after(self._every_s, self._sample)

    def _outcome(self, name: str) -> ServiceOutcome:
        run = self.services[name]
        tally, samples = run.tally, len(self._samples)
        ready = self._ready_s[name] / samples
        failed = tally.refused + tally.late + tally.lost
        ready_s = ready * self.hours * 3600
        return ServiceOutcome(
            name, tally, percentiles(tally.waits), percentiles(tally.answers), percentiles(tally.operation_s),
            failed / tally.arrived if tally.arrived else 0.0, ready, self._most[name],
            min(1.0, run.busy_s() / ready_s) if ready_s else math.nan,
        )  # fmt: skip
