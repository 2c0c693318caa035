"""Which query blocks of a row a call touches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class QueryBlocks:
    """The query blocks that the last q_len tokens of each row touch, in the row's own coordinates.

    Entry s of row b stands for query block `first[b] + s`; it is one where that is below `end[b]`, and empty beyond.
    """

    first: Tensor  # int64 [batch]
    end: Tensor  # int64 [batch]; equal to first for a row without real queries
    entries: int
    block_size: int

    def ids(self) -> Tensor:
        """int64 [batch, entries]: the query block of each entry; -1 where it is empty."""
        ids = self.first[:, None] + torch.arange(self.entries, device=self.first.device)
        return torch.where(ids < self.end[:, None], ids, -1)


def query_blocks(
    q_len: int,
    k_len: int,
    block_size: int,
    *,
    starts: Tensor | None = None,
    batch: int = 1,
    device: torch.device | str | None = None,
) -> QueryBlocks:
    """The query blocks of the last q_len of k_len positions, rows beginning at `starts`.

    batch and device are those of `starts` where it is given. With `starts` the number of entries is the most that
    q_len tokens can touch, so that no device has to be waited for. Raises ValueError for lengths that do not fit.
    """
    check_block_size(block_size)
    if not 0 <= q_len <= k_len:
        raise ValueError(f"q_len: {q_len} is not within 0 and k_len = {k_len}")
    lengths = row_lengths(k_len, starts, batch=batch, device=device)
    first = (lengths - q_len).clamp(min=0) // block_size
    end = torch.where(lengths > 0, -(-lengths // block_size), first) if q_len else first
    if starts is None:
        entries = -(-k_len // block_size) - (k_len - q_len) // block_size if q_len else 0
    else:
        entries = min((q_len + block_size - 2) // block_size + 1, -(-k_len // block_size)) if q_len else 0
    return QueryBlocks(first, torch.maximum(first, end), entries, block_size)


def row_lengths(
    k_len: int, starts: Tensor | None, *, batch: int = 1, device: torch.device | str | None = None
) -> Tensor:
    """int64 [batch]: real tokens of each row."""
    if starts is None:
        return torch.full((batch,), k_len, dtype=torch.int64, device=device)
    check_starts(starts)
    return (k_len - starts.to(torch.int64)).clamp(min=0)


def settled_length(length: int, block_size: int) -> int:
    """How many of a row's first `length` tokens lie in complete blocks.

    One list of key blocks serves all queries of a query block, and is chosen from the mean of them: it is settled when
    the last of them is known. A prompt that is fed in chunks therefore selects what it selects in one go if every
    chunk but the last ends at a settled length, and the rest is carried into the next chunk. Attention for a block
    that is fed in two pieces is well defined too, but its first piece is answered from the queries seen so far.
    """
    check_block_size(block_size)
    return length // block_size * block_size


def check_block_size(block_size: int) -> None:
    if block_size < 16 or block_size & (block_size - 1):
        raise ValueError(f"block_size: {block_size} is no power of two of at least 16")


def check_starts(starts: Tensor, batch: int | None = None) -> None:
    if starts.is_floating_point() or starts.dtype == torch.bool or starts.dim() != 1:
        raise ValueError(f"starts: {starts.dtype} of {starts.dim()} dimensions; it is one integer for each row")
    if batch is not None and starts.shape[0] != batch:
        raise ValueError(f"starts: {starts.shape[0]} entries for {batch} rows")
