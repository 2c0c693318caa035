"""Texts of the early-exit bench: what models train on, and the workloads they are measured on."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.zoo.corpus import SKIPPED_FOLDERS, build_text, read_split, split_of
from assay.zoo.tokenizer import END_ID, train_tokenizer
from assay.zoo.tokens import TokenStream, read_tokens

WORKLOADS = ("code", "docstrings", "copying", "questions")
PROMPT_TOKENS = 64
CANCEL = CancelToken()


@dataclass(frozen=True)
class Texts:
    """train: all of the train split; tuning: questions and answers made from it. workloads: name to [P, T] windows
    of held-out text.

    Workloads: `code` and `docstrings` as the corpus has them; `copying`, a passage of code and then the same passage
    again, of which the second is measured; `questions`, what a function does, answered by its docstring.
    """

    tokenizer: Any
    train: TokenStream
    tuning: TokenStream
    workloads: dict[str, Tensor]
    skips: dict[str, int]
    digest: str

    def sample(self, workload: str, prompts: int) -> Tensor:
        """That many windows, or all, spread over the split: neighbours come from one file."""
        found = self.workloads[workload]
        count = min(prompts, len(found))
        return found[torch.arange(count) * len(found) // count]


def read_texts(folder: Path, vocabulary: int) -> Texts:
    """Builds the corpus in `folder` unless it is there."""
    if not (folder / "test.jsonl").exists():
        build_text(folder)
    tokenizer = train_tokenizer(folder, vocabulary=vocabulary)
    held_out = [row for split in ("calibration", "validation", "test") for row in read_split(folder, split)]
    by_domain: dict[str, list[str]] = {"code": [], "docstring": []}
    for text, domain in held_out:
        by_domain.get(domain, []).append(text)

    def windows(texts: Iterable[str]) -> Tensor:
        ids = _stream(texts, tokenizer).ids
        return ids[: len(ids) // PROMPT_TOKENS * PROMPT_TOKENS].view(-1, PROMPT_TOKENS)

    code = windows(by_domain["code"])
    workloads = {
        "code": code,
        "docstrings": windows(by_domain["docstring"]),
        "copying": torch.cat([code, code], dim=1),
        "questions": windows(questions("calibration", "validation", "test")),
    }
    train = read_tokens(folder, "train", tokenizer, cancel=CANCEL)
    tuning = _stream(questions("train"), tokenizer)
    digest = hashlib.sha256(train.ids.numpy().tobytes() + tuning.ids.numpy().tobytes()).hexdigest()[:10]
    skips = {name: PROMPT_TOKENS if name == "copying" else 16 for name in workloads}
    return Texts(tokenizer, train, tuning, workloads, skips, digest)


def questions(*splits: str) -> Iterator[str]:
    """What each documented function of the standard library does, in files of these splits."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if SKIPPED_FOLDERS.intersection(name.parts) or split_of(name.as_posix()) not in splits:
            continue
        try:
            with tokenize.open(path) as stream:
                tree = ast.parse(stream.read())
        except (SyntaxError, ValueError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (about := ast.get_docstring(node)):
                arguments = ", ".join(argument.arg for argument in node.args.args)
                first = about.split("\n\n")[0].replace("\n", " ")
                yield f"Question: What does {node.name}({arguments}) do?\nAnswer: {first}\n"


def _stream(texts: Iterable[str], tokenizer: Any) -> TokenStream:
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer.encode(text, add_special_tokens=False), END_ID]
    return TokenStream(torch.tensor(ids, dtype=torch.int64), 0)
