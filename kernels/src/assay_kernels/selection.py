"""Which key blocks each query block attends to, and how many (query, key) pairs that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay_kernels.query_blocks import QueryBlocks, row_lengths


@dataclass(frozen=True)
class BlockSelection:
    """Lists of key blocks, ascending, without duplicates, none behind its query block.

    indices: int32 [batch, heads, entries, capacity]; heads is 1 (shared), the number of key heads or of query heads.
    counts: int32 [batch, heads, entries]; only the first `counts` indices of a list are read, 0 for an empty entry.
    rows: which query block each entry stands for.
    """

    indices: Tensor
    counts: Tensor
    rows: QueryBlocks

    @property
    def block_size(self) -> int:
        return self.rows.block_size

    def check(self) -> None:
        """Raises ValueError where a list breaks the promise above; waits for the device."""
        if self.indices.dim() != 4 or self.counts.shape != self.indices.shape[:3]:
            raise ValueError(
                f"selection: indices of shape {tuple(self.indices.shape)} with counts of {tuple(self.counts.shape)}; "
                "they are [batch, heads, entries, capacity] and [batch, heads, entries]"
            )
        if self.indices.dtype != torch.int32 or self.counts.dtype != torch.int32:
            raise ValueError(f"selection: {self.indices.dtype} and {self.counts.dtype}; both are int32")
        capacity = self.indices.shape[3]
        if self.indices.shape[0] != self.rows.first.shape[0] or self.indices.shape[2] != self.rows.entries:
            raise ValueError("selection: indices and rows disagree about batch or entries")
        if bool(((self.counts < 0) | (self.counts > capacity)).any()):
            raise ValueError(f"selection.counts: beyond the {capacity} indices of a list")
        ids = self.rows.ids()[:, None, :, None]
        read = torch.arange(capacity, device=self.indices.device) < self.counts[..., None]
        if bool((read & ((self.indices < 0) | (self.indices > ids))).any()):
            raise ValueError("selection.indices: a block id outside the blocks up to its query block")
        if bool((read[..., 1:] & (self.indices[..., 1:] <= self.indices[..., :-1])).any()):
            raise ValueError("selection.indices: a list that is not strictly ascending")


def count_pairs(
    selection: BlockSelection, q_len: int, k_len: int, *, starts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(attended, causal): int64 [batch] each, (query, key) pairs summed over the heads of the selection.

    Counted from the indices: a block before the query block gives block_size pairs to every query of it, the query
    block itself those up to the query. Padding counts as neither.
    """
    rows, size = selection.rows, selection.block_size
    lengths = row_lengths(k_len, starts, batch=selection.indices.shape[0], device=selection.indices.device)
    ids = rows.ids()
    begin = torch.maximum(ids * size, (lengths - q_len).clamp(min=0)[:, None])
    end = torch.minimum((ids + 1) * size, lengths[:, None])
    queries = torch.where(ids >= 0, (end - begin).clamp(min=0), 0)
    # Sum over the queries p of [begin, end) of p + 1, and of p + 1 - ids * size.
    causal = queries * (begin + end + 1) // 2
    diagonal = causal - queries * ids * size
    read = torch.arange(selection.indices.shape[3], device=ids.device) < selection.counts[..., None]
    before = (read & (selection.indices < ids[:, None, :, None])).sum(-1)
    itself = (read & (selection.indices == ids[:, None, :, None])).sum(-1)
    attended = before * size * queries[:, None] + itself * diagonal[:, None]
    heads = selection.indices.shape[1]
    return attended.sum((1, 2)), causal.sum(1) * heads


def density(selection: BlockSelection, q_len: int, k_len: int, *, starts: Tensor | None = None) -> float:
    """Attended (query, key) pairs divided by causal ones, over all rows and heads; nan without a real query."""
    attended, causal = count_pairs(selection, q_len, k_len, starts=starts)
    total = int(causal.sum())
    return int(attended.sum()) / total if total else float("nan")


def select_all(rows: QueryBlocks, *, heads: int = 1) -> BlockSelection:
    """Every block up to the query block: dense causal attention, density 1."""
    ids = rows.ids()
    capacity = max(1, int(rows.end.max()) if rows.end.numel() else 1)
    indices = torch.arange(capacity, dtype=torch.int32, device=ids.device)
    return select_lists(indices.expand(*ids.shape, capacity), ids + 1, rows, heads)


def select_lists(indices: Tensor, counts: Tensor, rows: QueryBlocks, heads: int) -> BlockSelection:
    """Lists [batch, entries, capacity] that `heads` heads share."""
    indices, counts = indices.to(torch.int32)[:, None], counts.to(torch.int32)[:, None]
    return BlockSelection(
        indices.expand(-1, heads, -1, -1).contiguous(), counts.expand(-1, heads, -1).contiguous(), rows
    )


def selection_from_lists(
    lists: Sequence[Sequence[Sequence[int]]], rows: QueryBlocks, *, heads: int = 1
) -> BlockSelection:
    """The selection that shares lists[row][entry] between heads, on the device of `rows`; checked."""
    counts = torch.tensor([[len(entry) for entry in row] for row in lists], dtype=torch.int32)
    capacity = max(1, int(counts.max()) if counts.numel() else 1)
    padded = [[[*entry, *[0] * (capacity - len(entry))] for entry in row] for row in lists]
    indices = torch.tensor(padded, dtype=torch.int32).reshape(*counts.shape, capacity)
    selection = select_lists(indices.to(rows.first.device), counts.to(rows.first.device), rows, heads)
    selection.check()
    return selection
