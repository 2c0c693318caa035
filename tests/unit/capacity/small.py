"""A small specification that tests change."""

from __future__ import annotations

import copy
from typing import Any

from assay.capacity.read import specification_of
from assay.capacity.specification import Specification

POOL = {
    "gpus_per_node": 8,
    "gpu_memory_gib": 80,
    "cpus_per_node": 96,
    "memory_gib_per_node": 1000,
    "price_per_node_hour": 20,
}
SERVICE = {"pool": "gpu", "calls": {"per_s": 18, "step_s": 0.5}, "front": {"calls_per_core_s": 1e6}}


def values(**changes: Any) -> dict[str, Any]:
    """One pool `gpu` and one service `probe`; changes: what to set, by path with a double underscore for each dot."""
    document: dict[str, Any] = {"pools": {"gpu": copy.deepcopy(POOL)}, "services": {"probe": copy.deepcopy(SERVICE)}}
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(name, None)
        else:
            place[name] = value
    return document


def specification(**changes: Any) -> Specification:
    return specification_of(values(**changes))[0]
