"""The two models the benchmark is about, trained once and kept in the store."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.artifacts.store import ArtifactStore
from assay.cancel import CancelToken
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.windows import Windows, cut_windows
from assay.zoo.corpus import read_split
from assay.zoo.store import PACKAGES
from assay_tom_verifier.core.sensitivity.subject import SubjectRecipe, train_subject
from bench.sensitivity_parts.surroundings import versions

# Nobody cancels a benchmark but by stopping the process.
CANCEL = CancelToken()
TOKENS = 128
TEST_WINDOWS = 64


@dataclass(frozen=True)
class Subject:
    """model: float32. scanned, test: windows of general text of two splits, for gradients and for perplexity."""

    recipe: SubjectRecipe
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    scanned: Windows
    test: Windows
    seconds: float

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def open_subject(
    artifacts: ArtifactStore, recipe: SubjectRecipe, seed: int, text: str, checkpoints: Path | None
) -> Subject:
    """text: digest of the text artifact. Trains the model where the store has none of its recipe, seed and text.

    checkpoints: a folder in which an interrupted training leaves its state for the next call.
    """
    basis = json.dumps([recipe.fingerprint(), text, versions(PACKAGES)], sort_keys=True)
    label = f"bench/{recipe.name}-seed{seed}-{hashlib.sha256(basis.encode()).hexdigest()[:12]}"
    found = artifacts.label(label)
    if found is None:
        state = None if checkpoints is None else checkpoints / label.replace("/", "-")
        digest = _train(artifacts, recipe, seed, text, state)
        artifacts.set_label(label, digest, None)
    else:
        digest = found.digest
    directory, text_dir = artifacts.path(digest), artifacts.path(text)
    tokenizer = load_tokenizer(directory)
    scanned, test = (
        cut_windows(read_split(text_dir, split), tokenizer, sequence_tokens=TOKENS, cancel=CANCEL)
        for split in ("calibration", "test")
    )
    seconds = json.loads((directory / _REPORT).read_text())["seconds"]
    return Subject(
        recipe, load_model(directory, dtype=torch.float32), tokenizer, scanned, test.spread(TEST_WINDOWS), seconds
    )


_REPORT = "training.json"


def _train(artifacts: ArtifactStore, recipe: SubjectRecipe, seed: int, text: str, state: Path | None) -> str:
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        out = Path(folder) / "model"
        seconds = train_subject(
            recipe,
            artifacts.path(text),
            out,
            seed=seed,
            cancel=CANCEL,
            progress=_told(recipe.name),
            checkpoint_dir=state,
        )
        (out / _REPORT).write_text(json.dumps({"seconds": round(seconds, 1)}) + "\n")
        return artifacts.put("model", out, inputs=[text], parameters={"recipe": recipe.name, "seed": seed})


def _told(name: str) -> Callable[..., None]:
    def progress(done: int, total: int, unit: str = "", **figures: float) -> None:
        if done % 100 == 0:
            print(f"{name}: {done}/{total} {unit} {figures}", file=sys.stderr, flush=True)

    return progress
