"""What a MODEL or TEXT argument becomes, in a store on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.artifacts.store import ArtifactStore
from assay.client.inputs import display_name, model_artifact, text_artifact
from assay.config import Config
from assay.errors import AssayError, InvalidInput, NotFound
from assay.zoo.corpus import SPLITS
from assay.zoo.store import ensure_text


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return Config(store=(tmp_path / "store").as_uri()).open_artifacts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def paths(artifacts: ArtifactStore, digest: str) -> list[str]:
    return [file.path for file in artifacts.manifest(digest).files]


def test_of_a_checkpoint_goes_what_a_loader_reads(artifacts: ArtifactStore, folder: Path) -> None:
    for name in ("tokenizer.json", "README.md", ".gitattributes", "pytorch_model.bin", "tf_model.h5", "model.gguf"):
        (folder / name).write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("x")
    (folder / "original").mkdir()
    (folder / "original/consolidated.00.pth").write_text("x")
    found = model_artifact(artifacts, str(folder))
    assert found.manifest.kind == "model"
    assert paths(artifacts, found.digest) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert display_name(str(folder), found) == "my model"


def test_links_of_a_download_cache_are_followed(artifacts: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(folder / name)
    assert model_artifact(artifacts, str(snapshot)).digest == model_artifact(artifacts, str(folder)).digest


def test_a_directory_and_its_digest_prefix_and_label_are_one_model(artifacts: ArtifactStore, folder: Path) -> None:
    digest = model_artifact(artifacts, str(folder)).digest
    artifacts.set_label("mine/best", digest, None)
    for argument in (digest, digest[7:15], digest[:20], "mine/best"):
        assert model_artifact(artifacts, argument).digest == digest
    assert display_name("mine/best", artifacts.get(digest)) == "mine/best"
    assert display_name(digest[7:15], artifacts.get(digest)) == digest[7:19]


def test_a_trained_model_is_called_by_its_recipe(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("model", {"config.json": b"{}"}, parameters={"recipe": {"name": "tiny"}})
    assert display_name(digest, artifacts.get(digest)) == "tiny"


@pytest.mark.parametrize(
    ("argument", "kind", "said"),
    [
        ("", InvalidInput, "MODEL: is empty"),
        ("nothing/like/it", NotFound, "MODEL: nothing/like/it is neither a directory here nor an artifact there"),
        ("/no/such/folder", NotFound, "MODEL: /no/such/folder is neither"),
        ("0123abcd", NotFound, "MODEL: 0123abcd is neither"),
        ("a b\x00", NotFound, "is neither"),
    ],
)
def test_a_name_that_nobody_knows_names_the_argument(
    artifacts: ArtifactStore, argument: str, kind: type[AssayError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        model_artifact(artifacts, argument)
    assert said in caught.value.message


def write_splits(folder: Path, **rows: int) -> None:
    for split in SPLITS:
        line = json.dumps({"text": f"for {split}", "domain": "prose"}) + "\n"
        (folder / f"{split}.jsonl").write_text(line * rows.get(split, 2))


def test_a_text_that_is_split_is_taken_as_it_is(artifacts: ArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    write_splits(folder)
    (folder / "notes.txt").write_text("not part of it")
    found = text_artifact(artifacts, str(folder))
    assert paths(artifacts, found.digest) == sorted(f"{split}.jsonl" for split in SPLITS)
    assert artifacts.read(found.digest, "test.jsonl") == (folder / "test.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "test.jsonl").unlink(), "has no test.jsonl"),
        (lambda folder: (folder / "test.jsonl").write_text(""), "has no row in test.jsonl"),
        (lambda folder: (folder / "train.jsonl").write_text("{}\n"), "train.jsonl:1 is no"),
    ],
    ids=["missing", "empty", "wrong"],
)
def test_a_split_that_is_not_usable_is_named(artifacts: ArtifactStore, tmp_path: Path, spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "text"
    folder.mkdir()
    write_splits(folder)
    spoil(folder)
    with pytest.raises(InvalidInput) as caught:
        text_artifact(artifacts, str(folder))
    assert caught.value.message.startswith(f"TEXT: {folder} ")
    assert said in caught.value.message


def test_a_directory_of_files_is_split_here_and_too_few_are_refused(artifacts: ArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "essays"
    folder.mkdir()
    (folder / "one.txt").write_text("A single essay of sufficient length to count as a passage.\n")
    with pytest.raises(InvalidInput, match=r"TEXT: .*essays leaves .* empty"):
        text_artifact(artifacts, str(folder))
    for number in range(400):
        (folder / f"{number}.txt").write_text(f"Essay {number}, of sufficient length to count as a passage.\n")
    found = text_artifact(artifacts, str(folder))
    assert found.digest == ensure_text(artifacts, folder)


@pytest.mark.slow
def test_no_text_means_the_standard_library(artifacts: ArtifactStore) -> None:
    found = text_artifact(artifacts, None)
    assert found.manifest.parameters == {"source": "standard library"}
    assert found.digest == ensure_text(artifacts)
