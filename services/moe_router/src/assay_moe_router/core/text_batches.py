"""Text as windows of tokens: what every measurement runs on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay.errors import InvalidInput, ResourceExhausted

MAX_TOKENS = 50_000_000


@dataclass(frozen=True)
class Windows:
    """ids: [S, T] int64, windows of equal length without padding. domains: [S], of the text each begins in."""

    ids: Tensor
    domains: tuple[str, ...]

    @property
    def sequences(self) -> int:
        return int(self.ids.shape[0])

    def part(self, first: int, last: int) -> Windows:
        """Sequences first to last - 1."""
        return Windows(self.ids[first:last], self.domains[first:last])

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        chosen = self.ids[start:stop]
        for first in range(0, len(chosen), size):
            yield chosen[first : first + size]


def cut_windows(
    rows: Iterable[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, sequences: int, sequence_tokens: int
) -> Windows:
    """The first windows of (text, domain) rows, joined by the end-of-text mark and cut without overlap.

    sequence_tokens: T. Raises InvalidInput where the text is too short for `sequences` windows.
    """
    if sequences < 1 or sequence_tokens < 2:
        raise InvalidInput("text.sequences, text.sequence_tokens", "must be at least 1 and 2")
    if sequences * sequence_tokens > MAX_TOKENS:
        raise ResourceExhausted(
            f"text.sequences: {sequences} of {sequence_tokens} tokens are above {MAX_TOKENS} in all; take fewer",
            reason="TEXT_TOO_LARGE",
        )
    end = tokenizer.eos_token_id
    wanted = sequences * sequence_tokens
    ids: list[int] = []
    starts: list[tuple[int, str]] = []
    for text, domain in rows:
        if len(ids) >= wanted:
            break
        starts.append((len(ids), domain))
        ids.extend(tokenizer.encode(text, add_special_tokens=False))
        if end is not None:
            ids.append(int(end))
    if len(ids) < wanted:
        raise InvalidInput(
            "text.sequences",
            f"needs {wanted} tokens, and the split holds {len(ids)}; ask for at most {len(ids) // sequence_tokens}",
        )
    windows = torch.tensor(ids[:wanted], dtype=torch.int64).view(sequences, sequence_tokens)
    positions = (
        np.searchsorted([start for start, _ in starts], np.arange(sequences) * sequence_tokens, side="right") - 1
    )
    return Windows(windows, tuple(starts[position][1] for position in positions))
