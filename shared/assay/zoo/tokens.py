"""A text split as one stream of token ids, and the windows that training and measuring take from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.zoo.corpus import SPLITS, read_split
from assay.zoo.tokenizer import END_ID

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class TokenStream:
    """ids: [n] int64, every text followed by the end mark. text_bytes: UTF-8 bytes of the texts."""

    ids: Tensor
    text_bytes: int

    def random_windows(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        """`batch` windows of `length` tokens anywhere in the stream. Returns [batch, length] int64."""
        starts = torch.randint(0, self._last_start(length) + 1, (batch,), generator=generator)
        return self.ids[starts[:, None] + torch.arange(length)]

    def windows(self, length: int) -> Tensor:
        """All windows of `length` + 1 tokens that overlap in one, so that no token is predicted twice.

        Returns [n, length + 1] int64; the rest that fills no window is left out.
        """
        self._last_start(length + 1)
        return self.ids.unfold(0, length + 1, length)

    def _last_start(self, length: int) -> int:
        if self.ids.numel() < length:
            raise InvalidInput("text", f"has a split of {self.ids.numel()} tokens; at least {length} are needed")
        return self.ids.numel() - length


def read_tokens(
    text_dir: Path, split: str, tokenizer: Any, *, domain: str | None = None, cancel: CancelToken
) -> TokenStream:
    """A whole split, or what of it is of one domain, tokenised. InvalidInput where the split is missing."""
    parts: list[int] = []
    text_bytes = 0
    for texts in _batches(text for text, of in read_split(text_dir, split) if domain in (None, of)):
        cancel.check()
        for text, ids in zip(texts, tokenizer(texts, add_special_tokens=False).input_ids, strict=True):
            parts.extend(ids)
            parts.append(END_ID)
            text_bytes += len(text.encode())
    return TokenStream(torch.tensor(parts, dtype=torch.int64), text_bytes)


def text_fingerprint(text_dir: Path) -> str:
    """SHA-256 over all splits, in hex."""
    digest = hashlib.sha256()
    for split in SPLITS:
        path = text_dir / f"{split}.jsonl"
        if not path.is_file():
            raise InvalidInput("text", f"has no {split}.jsonl; a text artifact has {', '.join(SPLITS)}")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
