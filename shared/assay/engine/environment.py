"""What an engine computes on: recorded with every operation, because results depend on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import metadata

from assay.engine.v1 import engine_pb2

DISTRIBUTIONS = ("assay-platform", "numpy", "safetensors", "tokenizers", "torch", "transformers")


def describe_environment(steps: Iterable[str]) -> engine_pb2.DescribeEngineResponse:
    """Steps, device, versions and threads of the engine that runs in this process. Its module is imported by now."""
    device, threads = "cpu", os.cpu_count() or 1
    # One that has not brought torch does not compute with it, and should not wait for it either.
    if (torch := sys.modules.get("torch")) is not None:
        threads = torch.get_num_threads()
        if torch.cuda.is_available():
            device = torch.cuda.get_device_name()
    return engine_pb2.DescribeEngineResponse(
        steps=sorted(steps), device=device, versions=dict(_versions()), threads=threads
    )


def _versions() -> Iterable[tuple[str, str]]:
    for name in DISTRIBUTIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def difference(before: engine_pb2.DescribeEngineResponse, after: engine_pb2.DescribeEngineResponse) -> str:
    """What changed between two environments that may change a result's last bits; empty where nothing."""
    changes = []
    if before.device != after.device:
        changes.append(f"device {before.device} -> {after.device}")
    if before.threads != after.threads:
        changes.append(f"threads {before.threads} -> {after.threads}")
    for name in sorted(set(before.versions) | set(after.versions)):
        old, new = before.versions.get(name, "none"), after.versions.get(name, "none")
        if old != new:
            changes.append(f"{name} {old} -> {new}")
    return ", ".join(changes)
