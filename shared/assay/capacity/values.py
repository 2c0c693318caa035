"""The plan as values of charts/assay."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from assay.capacity.plan import Plan
from assay.capacity.specification import Specification

# Of the chart's own pool: GPU nodes are tainted by whoever installs NVIDIA's operator or device plugin.
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def values_of(specification: Specification, plan: Plan) -> dict[str, Any]:
    """What goes over the chart's own values.

    Engines that take calls keep the planned replicas, those of operations alone what the file says.
    """
    pools = {
        name: {"nodeSelector": dict(pool.node_selector), "tolerations": [TOLERATION]}
        for name, pool in specification.pools.items()
        if pool.gpus_per_node
    }
    services: dict[str, Any] = {}
    for planned in plan.services:
        needs = specification.services[planned.name]
        keep = planned.replicas if needs.calls is not None else needs.scaling.min_replicas
        fronts = max(planned.fronts.replicas, needs.front.replicas)
        services[planned.name] = {
            "front": {
                "replicas": fronts,
                "autoscaling": {
                    "enabled": True,
                    "max": max(needs.front.max_replicas, fronts),
                    "cpuPercent": needs.front.cpu_percent,
                },
            },
            "engine": {
                "pool": needs.pool if needs.gpus else "",
                "replicas": {"min": keep, "max": max(planned.replicas, keep, needs.scaling.max_replicas)},
                "ongoing": max(1, math.floor(planned.ongoing)),
                "resources": {"cpu": needs.cpu, "memory": f"{math.ceil(needs.memory_gib)}Gi", "gpus": needs.gpus},
                "upgrade": {"strategy": needs.upgrade},
            },
        }
    return {"services": services, **({"pools": pools} if pools else {})}


def to_yaml(values: Mapping[str, Any], indent: int = 0) -> str:
    """Block-style YAML of nested tables of scalars; scalars in JSON's spelling, which YAML takes."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{' ' * indent}{json.dumps(key)}:")
            lines.append(to_yaml(value, indent + 2))
        else:
            lines.append(f"{' ' * indent}{json.dumps(key)}: {json.dumps(value)}")
    return "\n".join(lines)
