"""Short passages of a text split: functions, paragraphs; what repeats and instructions are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.zoo.corpus import read_split

MIN_CHARACTERS = 80
# Tens of thousands of passages: reading more would make a training longer, not another one.
MAX_CHARACTERS = 3_000_000
_AT_ONCE = 512


def read_passages(text_dir: Path, split: str, *, cancel: CancelToken) -> Iterator[str]:
    """What blank lines separate in code and prose, at least MIN_CHARACTERS long, the same passage once.

    In code stripped of its docstrings that is by and large a function. InvalidInput where the split is missing.
    """
    seen: set[str] = set()
    size = 0
    for text, domain in read_split(text_dir, split):
        cancel.check()
        if domain == "docstring":
            continue
        for part in text.split("\n\n"):
            passage = part.strip("\n") + "\n"
            if len(passage) < MIN_CHARACTERS or passage in seen:
                continue
            seen.add(passage)
            yield passage
            size += len(passage)
            if size >= MAX_CHARACTERS:
                return


def tokenised(texts: list[str], tokenizer: Any, *, cancel: CancelToken) -> list[list[int]]:
    """Token ids of each text, without special tokens. InvalidInput where there is no text."""
    if not texts:
        raise InvalidInput("text", f"has no passage of {MIN_CHARACTERS} characters outside docstrings; give more text")
    ids: list[list[int]] = []
    for start in range(0, len(texts), _AT_ONCE):
        cancel.check()
        ids.extend(tokenizer(texts[start : start + _AT_ONCE], add_special_tokens=False).input_ids)
    return ids
