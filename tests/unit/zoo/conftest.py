"""A recipe that learns in seconds, and the text that everything here trains on."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from assay.zoo.corpus import build_text
from assay.zoo.recipes import RECIPES, Recipe


@pytest.fixture(scope="session")
def text_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    build_text(folder)
    return folder


@pytest.fixture(scope="session")
def small_text_dir(text_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first texts of each split: enough for a micro model, read in a blink."""
    folder = tmp_path_factory.mktemp("small-text")
    for split, rows in {"train": 600, "calibration": 60, "validation": 60, "test": 60}.items():
        with (text_dir / f"{split}.jsonl").open() as lines:
            (folder / f"{split}.jsonl").write_text("".join(islice(lines, rows)))
    return folder


@pytest.fixture(scope="session")
def micro() -> Recipe:
    """The demo's architecture with 4 experts, trained for a few seconds."""
    tiny = RECIPES["qwen3-moe-tiny"]
    config = {**tiny.config, "hidden_size": 32, "moe_intermediate_size": 32, "num_experts": 4, "head_dim": 8}
    training = {"steps": 160, "batch": 16, "sequence_length": 64, "warmup_steps": 10, "learning_rate": 6e-3}
    return replace(tiny, name="micro", config=config, vocabulary=512, **training)
