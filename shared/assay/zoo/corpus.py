"""Text to train and measure on, from the interpreter's own standard library or from a user's directory.

    train.jsonl  calibration.jsonl  validation.jsonl  test.jsonl      rows {"text": str, "domain": str}

Splits are by file, so that no function is trained on and measured on. Domains: `docstring`, `code` (the same
sources without their docstrings) and `prose` (files that are no Python): traffic whose domain drifts is
built from them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.errors import InvalidInput

SPLITS = ("train", "calibration", "validation", "test")
# Thousandths of the files that each held-out split gets: some 200 sequences of 128 tokens even of docstrings alone.
HELD_OUT_PERMILLE = {"calibration": 70, "validation": 20, "test": 70}
MAX_FILE_BYTES = 400_000
MAX_SPLIT_BYTES = {"train": 16_000_000, "calibration": 1_000_000, "validation": 500_000, "test": 1_000_000}
MAX_TEXT_CHARACTERS = 8_000
MIN_TEXT_CHARACTERS = 40
# Test suites, generated tables and installed packages: repetitive, or not the same for everyone.
SKIPPED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "lib2to3",
        "pydoc_data",
        "encodings",
    }
)
SUFFIXES = frozenset({".py", ".txt", ".md", ".rst"})


@dataclass(frozen=True)
class TextSummary:
    """What `build_text` wrote: rows and UTF-8 bytes of text per split, rows per domain, files left out and why."""

    rows: dict[str, int]
    text_bytes: dict[str, int]
    domains: dict[str, int]
    skipped: dict[str, int]


def build_text(destination: Path, *, source: Path | None = None) -> TextSummary:
    """Writes the four splits below `destination`; the same files give the same bytes.

    source: a directory of .py, .txt, .md or .rst files; None for the interpreter's standard library.
    InvalidInput where `source` is no directory or leaves a split empty.
    """
    root = Path(sysconfig.get_path("stdlib")) if source is None else source
    if not root.is_dir():
        raise InvalidInput("source", f"{root} is no directory; give one that holds .py or .txt files")
    destination.mkdir(parents=True, exist_ok=True)
    rows, text_bytes, domains, skipped = (Counter[str]() for _ in range(4))
    streams = {split: (destination / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") for split in SPLITS}
    try:
        for name, path in sorted(_files(root).items(), key=lambda item: _rank(item[0])):
            text, reason = _read(path)
            if text is None:
                skipped[reason] += 1
                continue
            split = split_of(name)
            if text_bytes[split] >= MAX_SPLIT_BYTES[split]:
                skipped["split full"] += 1
                continue
            for domain, passage in passages(text, python=path.suffix == ".py"):
                streams[split].write(json.dumps({"text": passage, "domain": domain}, ensure_ascii=False) + "\n")
                rows[split] += 1
                text_bytes[split] += len(passage.encode())
                domains[domain] += 1
    finally:
        for stream in streams.values():
            stream.close()
    empty = [split for split in SPLITS if not rows[split]]
    if empty:
        raise InvalidInput("source", f"leaves {', '.join(empty)} empty; give more files (a few hundred are plenty)")
    return TextSummary(dict(rows), dict(text_bytes), dict(domains), dict(skipped))


def split_of(name: str) -> str:
    """The split of a file, from the hash of its path relative to the root: stable when other files come or go."""
    position = int(_rank(name)[:8], 16) % 1000
    for split, permille in HELD_OUT_PERMILLE.items():
        if position < permille:
            return split
        position -= permille
    return "train"


def passages(text: str, *, python: bool) -> Iterator[tuple[str, str]]:
    """(domain, passage) of one file; text that is no Python, or no longer parses, is prose as it stands."""
    if not python:
        yield from (("prose", part) for part in _parts(text))
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    documented = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED) and _docstring(node) is not None]
    for node in documented:
        yield from (("docstring", part) for part in _parts(ast.get_docstring(node) or ""))
    yield from (("code", part) for part in _parts(_without_docstrings(text, documented)))


def read_split(text_dir: Path, split: str) -> Iterator[tuple[str, str]]:
    """(text, domain) of every row of a text artifact's split. InvalidInput where there is no such file or row."""
    path = text_dir / f"{split}.jsonl"
    if not path.is_file():
        raise InvalidInput("text", f"has no {split}.jsonl; build it with `assay zoo train --text DIR`")
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line)
                yield str(row["text"]), str(row.get("domain", ""))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InvalidInput("text", f'{split}.jsonl:{number} is no {{"text": ..., "domain": ...}} row') from None


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _files(root: Path) -> dict[str, Path]:
    """Text files below `root` by relative path; symbolic links are not followed."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        for name in names:
            path = Path(folder, name)
            if path.suffix in SUFFIXES and not path.is_symlink():
                found[path.relative_to(root).as_posix()] = path
    return found


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _read(path: Path) -> tuple[str | None, str]:
    """The file's text, or None with why it is left out."""
    if path.stat().st_size > MAX_FILE_BYTES:
        return None, "too large"
    try:
        if path.suffix != ".py":
            return path.read_text(encoding="utf-8"), ""
        with tokenize.open(path) as stream:
            return stream.read(), ""
    except (UnicodeDecodeError, SyntaxError, LookupError):
        return None, "undecodable"
    except OSError:
        return None, "unreadable"


def _docstring(node: _Documented) -> ast.Expr | None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None


def _without_docstrings(text: str, documented: list[_Documented]) -> str:
    lines = text.splitlines()
    for node in documented:
        docstring = _docstring(node)
        if docstring is None or docstring.end_lineno is None:
            continue
        if lines[docstring.lineno - 1][: docstring.col_offset].strip():
            continue  # `def f(): "text"` would lose its head
        for line in range(docstring.lineno - 1, min(docstring.end_lineno, len(lines))):
            lines[line] = ""
    kept = [line for number, line in enumerate(lines) if line.strip() or (number and lines[number - 1].strip())]
    return "\n".join(kept)


def _parts(text: str) -> Iterator[str]:
    """The text cut at line ends into pieces of at most about MAX_TEXT_CHARACTERS; scraps are dropped."""
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if size + len(line) > MAX_TEXT_CHARACTERS and piece:
            yield from _worthwhile("".join(piece))
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield from _worthwhile("".join(piece))


def _worthwhile(text: str) -> Iterator[str]:
    if len(text.strip()) >= MIN_TEXT_CHARACTERS:
        yield text.strip("\n") + "\n"
