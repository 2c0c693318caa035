"""Replicas onto nodes, as few as first-fit decreasing needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assay.capacity.specification import Pool, ServiceNeeds
from assay.errors import InvalidInput


@dataclass(frozen=True)
class Load:
    """`count` replicas of one service."""

    needs: ServiceNeeds
    count: int


def nodes_for(pool: Pool, loads: Sequence[Load]) -> int:
    """Nodes of `pool` that hold all loads: GPUs, cores and memory. Raises InvalidInput where one replica fits none."""
    for load in loads:
        if fits(load.needs, pool.gpus_per_node, pool.cpus_per_node, pool.memory_gib_per_node) < 1:
            raise InvalidInput(
                f"services.{load.needs.name}.cpu",
                f"a replica of {load.needs.gpus} GPUs, {load.needs.cpu:g} cores and {load.needs.memory_gib:g} GiB "
                f"fits no node of {pool.name}",
            )
    left = {id(load): load.count for load in loads}
    order = sorted(loads, key=lambda load: (-load.needs.gpus, -load.needs.cpu, -load.needs.memory_gib))
    nodes = 0
    while any(left.values()):
        gpus, cpus, memory = float(pool.gpus_per_node), pool.cpus_per_node, pool.memory_gib_per_node
        for load in order:
            placed = min(left[id(load)], fits(load.needs, gpus, cpus, memory))
            left[id(load)] -= placed
            gpus -= placed * load.needs.gpus
            cpus -= placed * load.needs.cpu
            memory -= placed * load.needs.memory_gib
        nodes += 1
    return nodes


def fits(needs: ServiceNeeds, gpus: float, cpus: float, memory_gib: float) -> int:
    """Replicas of a service that the given rest of a node holds."""
    by_gpus = gpus // needs.gpus if needs.gpus else math.inf
    return int(min(by_gpus, cpus // needs.cpu, memory_gib // needs.memory_gib))
