"""The zoo in a real artifact store, and its commands."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.artifacts.objects import open_object_store
from assay.artifacts.store import ArtifactStore
from assay.cancel import CancelToken
from assay.errors import NotFound
from assay.progress import silent
from assay.zoo.cli import zoo
from assay.zoo.recipes import RECIPES, Recipe, recipe
from assay.zoo.store import ensure_model, ensure_text, find_model, model_label


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(open_object_store((tmp_path / "store").as_uri()))


@pytest.fixture
def brief(micro: Recipe) -> Recipe:
    return replace(micro, name="brief", steps=3)


def test_a_model_is_trained_once_and_knows_what_it_was_made_from(
    artifacts: ArtifactStore, brief: Recipe, small_text_dir: Path
) -> None:
    text = artifacts.put("text", small_text_dir)
    assert find_model(artifacts, brief, seed=1, text=text) is None
    digest = ensure_model(artifacts, brief, seed=1, cancel=CancelToken(), progress=silent, text=text)

    def trained_again(done: int, total: int, unit: str = "", **figures: float) -> None:
        raise AssertionError("the model was there already")

    assert ensure_model(artifacts, brief, seed=1, cancel=CancelToken(), progress=trained_again, text=text) == digest
    assert artifacts.resolve(model_label(brief, 1, text)) == digest
    manifest = artifacts.manifest(digest)
    assert (manifest.kind, manifest.inputs) == ("model", (text,))
    assert manifest.parameters["seed"] == 1
    report = json.loads((artifacts.path(digest) / "training.json").read_text())
    assert manifest.parameters["held_out"] == report["held_out"]


def test_another_seed_text_or_recipe_is_another_label(brief: Recipe) -> None:
    labels = {
        model_label(brief, 0, "sha256:a"),
        model_label(brief, 1, "sha256:a"),
        model_label(brief, 0, "sha256:b"),
        model_label(replace(brief, steps=4), 0, "sha256:a"),
    }
    assert len(labels) == 4
    assert model_label(replace(brief, about="in other words"), 0, "sha256:a") in labels


@pytest.mark.slow
def test_the_text_artifact_is_the_same_each_time(artifacts: ArtifactStore) -> None:
    first, second = ensure_text(artifacts), ensure_text(artifacts)
    assert first == second
    assert artifacts.manifest(first).kind == "text"


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="qwen3-moe-tiny"):
        recipe("gpt-5")


def test_the_list_prints_every_recipe() -> None:
    lines = CliRunner().invoke(zoo, ["list"], catch_exceptions=False).output.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    listed = json.loads(CliRunner().invoke(zoo, ["list", "--json"], catch_exceptions=False).output)
    assert [entry["name"] for entry in listed["recipes"]] == list(RECIPES)


def test_the_command_trains_stores_and_then_finds(
    tmp_path: Path, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(300):
        (source / f"note{index}.txt").write_text(f"Note number {index}: " + "words that fill a line. " * 40)
    monkeypatch.setenv("ASSAY_STORE", (tmp_path / "store").as_uri())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(RECIPES, "brief", brief)
    arguments = ["train", "brief", "--seed", "2", "--text", str(source), "--json"]
    first = json.loads(CliRunner().invoke(zoo, [*arguments, "--out", str(tmp_path / "out")]).stdout)
    second = json.loads(CliRunner().invoke(zoo, arguments).stdout)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["model"] == second["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_listing_and_finding_load_no_torch() -> None:
    program = (
        "import sys, assay.zoo.cli, assay.zoo.corpus, assay.zoo.recipes, assay.zoo.store;"
        "print([name for name in ('torch', 'transformers', 'ray', 'grpc', 'minio') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
