"""The `assay` command as it is installed, beside services of the tests' own that are found as any other's are."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ASSAY = Path(sys.executable).with_name("assay")
TESTS = Path(__file__).resolve().parents[2]
ENTRY_POINTS = """[assay.services]
chatty = probe.moods:CHATTY
grumpy = probe.moods:GRUMPY
shy = probe.moods:SHY
slow = probe.moods:SLOW
probe = probe.service:SERVICE

[assay.commands]
broken = probe.no_such_module:command
"""
TIMEOUT_S = 240


@dataclass
class Shell:
    """Runs commands with a store and a home of their own. variables: added to the environment."""

    home: Path
    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
        return {
            **kept,
            "ASSAY_STORE": (self.home / "store").as_uri(),
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "PYTHONPATH": f"{TESTS}{os.pathsep}{self.home / 'installed'}",
            "COLUMNS": "100",
            **self.variables,
        }

    def __call__(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ASSAY, *arguments],
            env={**self.environment, **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def json(self, *arguments: str | Path) -> Any:
        """The document a command prints; it must succeed."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command that goes on, in a process group of its own as a shell would put it."""
        return subprocess.Popen(
            [ASSAY, *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def serving(self, *services: str) -> Iterator[str]:
        """The address of `assay serve` with these services."""
        process = self.start("serve", "--listen", "127.0.0.1:0", "--json", *services)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)["address"]
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    distribution = tmp_path / "installed" / "assay_probe-1.0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: assay-probe\nVersion: 1.0\nSummary: Probes.\n")
    (distribution / "entry_points.txt").write_text(ENTRY_POINTS)
    (distribution / "RECORD").write_text("")
    return Shell(tmp_path, {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A checkpoint as far as its files go: a config and 6 bfloat16 numbers."""
    return make_model(tmp_path / "tiny model")


def make_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text that is split already."""
    folder = tmp_path / "text"
    folder.mkdir()
    for split in ("train", "calibration", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"text": f"words to {split} on", "domain": "prose"}) + "\n")
    return folder


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.05)


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    """Ctrl-C as a terminal sends it: to the whole group. Returns what was printed."""
    os.killpg(process.pid, number)
    return process.communicate(timeout=60)


def beats(file: Path) -> Sequence[str]:
    return file.read_text().splitlines() if file.exists() else []
