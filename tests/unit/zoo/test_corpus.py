"""The text: splits by file, domains, determinism, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from assay.errors import InvalidInput
from assay.zoo.corpus import SPLITS, build_text, passages, read_split, split_of


@pytest.mark.slow
def test_the_same_interpreter_gives_the_same_bytes(text_dir: Path, tmp_path: Path) -> None:
    build_text(tmp_path)
    for split in SPLITS:
        first, second = ((folder / f"{split}.jsonl").read_bytes() for folder in (text_dir, tmp_path))
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_no_code_passage_of_a_held_out_split_is_trained_on(text_dir: Path) -> None:
    # Splitting passages instead of files would share about one module in ten between two splits.
    trained = {text for text, domain in read_split(text_dir, "train") if domain == "code"}
    for split in ("calibration", "validation", "test"):
        held_out = {text for text, domain in read_split(text_dir, split) if domain == "code"}
        assert len(held_out) >= 20
        assert not held_out & trained


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_held_out_splits_fill_sequences_of_either_domain(text_dir: Path, split: str) -> None:
    # 128 tokens are about 390 bytes: 180 sequences of docstrings alone, so that traffic can drift to them.
    size = {"code": 0, "docstring": 0}
    for text, domain in read_split(text_dir, split):
        if domain in size:
            size[domain] += len(text.encode())
    assert min(size.values()) >= 180 * 390


def test_splits_do_not_depend_on_the_other_files() -> None:
    names = [f"package/module{index}.py" for index in range(2000)]
    shares = {split: sum(split_of(name) == split for name in names) / len(names) for split in SPLITS}
    # Binomial spread of a 7 % share of 2000 is 0.6 points; the hash is fixed, so this cannot flake.
    assert shares["calibration"] == pytest.approx(0.07, abs=0.02)
    assert shares["train"] == pytest.approx(0.84, abs=0.03)


def test_docstrings_leave_the_code_and_nothing_else_does() -> None:
    source = (
        '"""A module that holds enough words to be kept as a text."""\n'
        "LIMIT = 3\n"
        "def head(): 'A docstring on the line of its function is kept where it stands.'\n"
        "def twice(number):\n"
        '    """Doubles a number, which takes forty characters to say."""\n'
        "    return 2 * number\n"
    )
    found = list(passages(source, python=True))
    code = [text for domain, text in found if domain == "code"]
    prose = [text for domain, text in found if domain == "docstring"]
    assert len(prose) == 3
    assert len(code) == 1
    assert "Doubles" not in code[0]
    assert "enough words" not in code[0]
    for line in ("LIMIT = 3", "def head():", "def twice(number):", "    return 2 * number"):
        assert line in code[0]


def test_a_directory_of_the_users_own(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(200):
        (source / f"note{index}.txt").write_text(f"Note number {index}: " + "words that fill a line. " * 5)
    (source / "latin.txt").write_bytes(b"\xff\xfe not UTF-8 \xe9" * 10)
    (source / "outside.txt").symlink_to("/etc/passwd")
    summary = build_text(tmp_path / "text", source=source)
    assert sum(summary.rows.values()) == 200
    assert summary.domains == {"prose": 200}
    assert summary.skipped == {"undecodable": 1}


def test_too_few_files_are_refused_by_naming_the_empty_splits(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("One file cannot be in four splits, whatever it says. " * 3)
    with pytest.raises(InvalidInput, match="empty") as raised:
        build_text(tmp_path / "text", source=tmp_path)
    assert raised.value.violations[0].field == "source"


def test_a_row_that_is_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "fine", "domain": "code"}\n{"txet": 1}\n')
    with pytest.raises(InvalidInput, match=r"train\.jsonl:2"):
        list(read_split(tmp_path, "train"))
