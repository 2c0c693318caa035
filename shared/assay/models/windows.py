"""Text as windows of tokens: what every measurement runs on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay.cancel import CancelToken
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

    def spread(self, sequences: int) -> Windows:
        """That many of them, evenly spaced. InvalidInput where there are not so many.

        The first ones would be those of a few texts, of which one may fill most of them: plans made on the first
        windows of a split balance other text far worse.
        """
        if sequences > self.sequences:
            raise InvalidInput(
                "text.sequences", f"is {sequences}, and the split holds {self.sequences}; ask for at most as many"
            )
        chosen = torch.arange(sequences) * self.sequences // sequences
        return Windows(self.ids[chosen], tuple(self.domains[index] for index in chosen))

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        chosen = self.ids[start:stop]
        for first in range(0, len(chosen), size):
            yield chosen[first : first + size]


def check_size(sequences: int, sequence_tokens: int) -> None:
    """InvalidInput for fewer than one sequence of two tokens, ResourceExhausted for more than MAX_TOKENS in all."""
    if sequences < 1 or sequence_tokens < 2:
        raise InvalidInput("text.sequences, text.sequence_tokens", "must be at least 1 and 2")
    if sequences * sequence_tokens > MAX_TOKENS:
        raise ResourceExhausted(
            f"text.sequences: {sequences} of {sequence_tokens} tokens are above {MAX_TOKENS} in all; take fewer",
            reason="TEXT_TOO_LARGE",
        )


def cut_windows(
    rows: Iterable[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    sequence_tokens: int,
    cancel: CancelToken,
    max_tokens: int = MAX_TOKENS,
) -> Windows:
    """All windows of (text, domain) rows, joined by the end-of-text mark and cut without overlap.

    sequence_tokens: T. What is beyond max_tokens, and the rest that fills no window, is left out.
    """
    check_size(1, sequence_tokens)
    end = tokenizer.eos_token_id
    ids = array("q")
    starts: list[tuple[int, str]] = []
    for text, domain in rows:
        cancel.check()
        if len(ids) >= max_tokens:
            break
        starts.append((len(ids), domain))
        ids.extend(tokenizer.encode(text, add_special_tokens=False))
        if end is not None:
            ids.append(int(end))
    sequences = min(len(ids), max_tokens) // sequence_tokens
    windows = torch.tensor(ids[: sequences * sequence_tokens], dtype=torch.int64).view(sequences, sequence_tokens)
    positions = (
        np.searchsorted([start for start, _ in starts], np.arange(sequences) * sequence_tokens, side="right") - 1
    )
    return Windows(windows, tuple(starts[position][1] for position in positions))
