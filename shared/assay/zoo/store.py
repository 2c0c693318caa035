"""The zoo's texts and models as artifacts: made once, found by label afterwards."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from assay.cancel import CancelToken
from assay.errors import Aborted
from assay.progress import Progress
from assay.zoo.corpus import build_text
from assay.zoo.recipe import Recipe

# What decides the weights besides recipe, seed and text.
PACKAGES = ("torch", "transformers", "tokenizers")


class Label(Protocol):
    @property
    def digest(self) -> str: ...
    @property
    def version(self) -> str: ...


class TakesArtifacts(Protocol):
    """The part of an artifact store, here or remote, that a text needs."""

    def put(
        self,
        kind: str,
        files: Path,
        *,
        inputs: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> str: ...


class Artifacts(TakesArtifacts, Protocol):
    """The part of `assay.artifacts.store.ArtifactStore` that the zoo needs."""

    def label(self, name: str) -> Label | None: ...
    def set_label(self, name: str, digest: str, expected_version: str | None) -> str: ...
    def path(self, reference: str) -> Path: ...


def ensure_text(artifacts: TakesArtifacts, source: Path | None = None) -> str:
    """Digest of the text artifact of `source` (None: the standard library); the same text gives the same digest."""
    with tempfile.TemporaryDirectory(prefix="assay-text-") as folder:
        build_text(Path(folder), source=source)
        origin = "standard library" if source is None else "directory"
        return artifacts.put("text", Path(folder), parameters={"source": origin})


def model_label(recipe: Recipe, seed: int, text: str) -> str:
    """`zoo/<recipe>-seed<k>-<hash>`; the hash covers recipe, text and the packages' versions."""
    basis = json.dumps([recipe.fingerprint(), text, _versions()], sort_keys=True)
    return f"zoo/{recipe.name}-seed{seed}-{hashlib.sha256(basis.encode()).hexdigest()[:12]}"


def find_model(artifacts: Artifacts, recipe: Recipe, *, seed: int, text: str) -> str | None:
    """Digest of the model trained earlier, None where there is none."""
    found = artifacts.label(model_label(recipe, seed, text))
    return None if found is None else found.digest


def ensure_model(
    artifacts: Artifacts,
    recipe: Recipe,
    *,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    text: str | None = None,
    checkpoints: Path | None = None,
    threads: int = 1,
) -> str:
    """Digest of the trained model: found by its label, or trained, stored and labelled now.

    text: digest of a text artifact; None for the standard library's. checkpoints: a folder in which an
    interrupted training leaves its state for the next call. Raises what `train` and the store raise.
    """
    text = ensure_text(artifacts) if text is None else text
    found = find_model(artifacts, recipe, seed=seed, text=text)
    if found is not None:
        return found
    from assay.zoo.train import train

    label = model_label(recipe, seed, text)
    with tempfile.TemporaryDirectory(prefix="assay-zoo-") as folder:
        out = Path(folder) / "model"
        report = train(
            recipe,
            artifacts.path(text),
            out,
            seed=seed,
            cancel=cancel,
            progress=progress,
            checkpoint_dir=None if checkpoints is None else checkpoints / label.replace("/", "-"),
            threads=threads,
        )
        digest = artifacts.put(
            "model",
            out,
            inputs=[text],
            parameters={"recipe": report.recipe, "seed": seed, "held_out": report.to_json()["held_out"]},
            versions=_versions(),
        )
    try:
        artifacts.set_label(label, digest, None)
    except Aborted:
        # Another process trained the same meanwhile; whoever labelled first is everyone's answer.
        winner = artifacts.label(label)
        return digest if winner is None else winner.digest
    return digest


def _versions() -> dict[str, str]:
    return {package: metadata.version(package) for package in PACKAGES}
