"""A small model that really was trained, in a store of its own, and fronts of moe-router to ask about it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from assay.artifacts.store import ArtifactStore
from assay.cancel import CancelToken
from assay.client.connection import Connection, connect
from assay.config import Config
from assay.progress import silent
from assay.zoo.recipes import RECIPES
from assay.zoo.store import ensure_model, ensure_text

# Two layers of 8 experts, a vocabulary that makes many tokens of little text, a minute's fraction of training.
MICRO = replace(
    RECIPES["qwen3-moe-tiny"],
    name="qwen3-moe-micro",
    config={
        **RECIPES["qwen3-moe-tiny"].config,
        "hidden_size": 32,
        "moe_intermediate_size": 32,
        "num_experts": 8,
        "head_dim": 8,
    },
    steps=120,
    batch=8,
    warmup_steps=10,
    vocabulary=512,
)


class Trained:
    """store: its URL. model, text: digests."""

    def __init__(self, folder: Path) -> None:
        self.store = (folder / "store").as_uri()
        self.artifacts: ArtifactStore = Config(store=self.store).open_artifacts()
        self.text = ensure_text(self.artifacts)
        self.model = ensure_model(self.artifacts, MICRO, seed=0, cancel=CancelToken(), progress=silent, text=self.text)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def connection(trained: Trained) -> Iterator[Connection]:
    """Every installed service behind one socket, over the store of `trained`."""
    with connect("moe_router", config=Config(store=trained.store)) as opened:
        yield opened


class RouterProcess:
    """A front of moe-router with its engine, in a process of its own; `kill` is SIGKILL."""

    def __init__(self, store: str, engine: str = "in-process", environment: Mapping[str, str] | None = None) -> None:
        environment = {
            **os.environ,
            **(environment or {}),
            "ASSAY_STORE": store,
            "ASSAY_LISTEN": "127.0.0.1:0",
            "ASSAY_DRAIN_S": "0",
            "ASSAY_ENGINE": engine,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay.server", "moe_router"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self._read_address()
        # Whoever does not read the log blocks who writes it.
        threading.Thread(target=self._drain, daemon=True).start()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    def cpu_seconds(self) -> float:
        """CPU time that all threads of the process have used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read_address(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"serving .* on (127\.0\.0\.1:\d+)", line):
                return found[1]
        raise RuntimeError("the front did not start")

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for _ in self.process.stderr:
            pass
