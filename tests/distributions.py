"""The distributions as a user gets them: built once, installed where nothing of the source tree is in reach."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
KERNELS = REPOSITORY / "kernels"
SERVICES = {path.parent.name: path.parent for path in sorted(REPOSITORY.glob("services/*/pyproject.toml"))}
NO_INDEX = ("Could not find a version", "Max retries exceeded", "Temporary failure in name resolution")


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip, in a folder of its own; `run` sees no variable of the source tree's."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "PYTHON"))}
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder)},
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def install(self, *requirements: str) -> None:
        """With this project's pins. Skips the test where no package index answers, except in CI."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "-qq", "--no-compile"]
        done = subprocess.run(
            [*pip, "-c", REPOSITORY / "constraints.txt", *requirements],
            text=True,
            capture_output=True,
            timeout=240,
            check=False,
        )
        if done.returncode and os.environ.get("CI") != "true" and any(sign in done.stderr for sign in NO_INDEX):
            pytest.skip(f"needs a package index that pip reaches: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr


def build(source: Path, into: Path) -> Path:
    """The wheel of the distribution in `source`, built from its own sdist."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", into, source]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel


def new_environment(folder: Path) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return Environment(folder)
