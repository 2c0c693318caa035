"""A small model that really was trained, in a store of its own, and fronts of moe-router to ask about it."""

from __future__ import annotations

from collections.abc import Iterator
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
