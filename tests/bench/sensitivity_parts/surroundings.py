"""Where the benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from typing import Any


def versions(packages: Sequence[str]) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}


def surroundings() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **versions(("torch", "transformers", "numpy")),
        "commit": commit.stdout.strip() or "unknown",
    }
