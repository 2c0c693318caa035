"""Keys and values as attention finds them: one tensor, or pages of one block each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay_kernels.dispatch import FLOATS
from assay_kernels.query_blocks import check_starts, row_lengths
from assay_kernels.selection import BlockSelection


@dataclass(frozen=True)
class Call:
    """A checked call of an attention op."""

    q: Tensor
    k: Tensor
    v: Tensor
    selection: BlockSelection
    lengths: Tensor  # int64 [batch], real tokens of each row
    k_len: int  # positions of the longest row; of k itself where it is not paged
    block_table: Tensor | None
    scaling: float

    @property
    def kv_heads(self) -> int:
        return self.k.shape[1]

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.q.shape[1] // self.k.shape[1]

    def tokens(self, b: int, blocks: Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """k and v of the listed blocks of row b: [heads, tokens, head_dim] each, without the tokens it lacks.

        blocks: int64 [n], ascending, so that only the last of them can be the row's incomplete one.
        """
        size = self.selection.block_size
        length = int(self.lengths[b])
        whole = blocks
        if length % size and len(blocks) and int(blocks[-1]) == length // size:
            whole = blocks[:-1]
        rest = length % size if whole is not blocks else 0
        parts = []
        for x in (self.k, self.v):
            if self.block_table is None:
                row = x[b, heads, self.k_len - length :]
                pages = row[:, : length // size * size].unflatten(1, (length // size, size))
                last = row[:, length - rest :]
                picked = pages.index_select(1, whole)
            else:
                picked = x[:, heads].index_select(0, self.block_table[b, whole].long()).transpose(0, 1)
                last = x[int(self.block_table[b, blocks[-1]]), heads, :rest]
            parts.append(torch.cat([picked.flatten(1, 2), last], dim=1) if rest else picked.flatten(1, 2))
        return parts[0], parts[1]


def check_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    starts: Tensor | None,
    scaling: float | None,
    block_table: Tensor | None,
    lengths: Tensor | None,
    check: bool,
) -> Call:
    """The call, or ValueError naming what does not fit. `check` also reads block ids, which waits for the device."""
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape:
        raise ValueError(
            f"q, k, v: shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}; four dimensions, k and v the same"
        )
    if q.dtype not in FLOATS or k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError(f"q, k, v: {q.dtype}, {k.dtype}, {v.dtype}; one of float32, float16, bfloat16 for all three")
    batch, heads, q_len, head_dim = q.shape
    kv_heads = k.shape[1]
    if k.shape[3] != head_dim:
        raise ValueError(f"k: head_dim {k.shape[3]}, that of q is {head_dim}")
    if not kv_heads or heads % kv_heads:
        raise ValueError(f"q: {heads} heads are no multiple of {kv_heads} key heads")
    size = selection.block_size
    if block_table is None:
        if k.shape[0] != batch:
            raise ValueError(f"k: batch {k.shape[0]}, that of q is {batch}")
        if lengths is not None:
            raise ValueError("lengths: only for paged keys; give starts, or a block_table with them")
        if starts is not None:
            check_starts(starts, batch)
        k_len = k.shape[2]
        lengths = row_lengths(k_len, starts, batch=batch, device=q.device)
    else:
        if starts is not None:
            raise ValueError("starts: paged rows have no padding; give lengths")
        if lengths is None:
            raise ValueError("lengths: needed with a block_table")
        check_starts(lengths, batch)
        if block_table.dim() != 2 or block_table.shape[0] != batch or block_table.is_floating_point():
            raise ValueError(f"block_table: {block_table.dtype} {tuple(block_table.shape)}; integers [batch, blocks]")
        if k.shape[2] != size:
            raise ValueError(f"k: pages of {k.shape[2]} tokens; a page is a block of {size}")
        k_len = block_table.shape[1] * size
        lengths = lengths.to(torch.int64)
    if selection.indices.shape[0] != batch or selection.indices.shape[1] not in (1, kv_heads, heads):
        raise ValueError(
            f"selection: batch {selection.indices.shape[0]} and {selection.indices.shape[1]} heads; here they are "
            f"{batch} and 1, {kv_heads} or {heads}"
        )
    if check:
        selection.check()
        if block_table is not None and block_table.numel():
            used = torch.arange(block_table.shape[1], device=q.device) < -(-lengths[:, None] // size)
            if bool((used & ((block_table < 0) | (block_table >= k.shape[0]))).any()):
                raise ValueError(f"block_table: a page outside the {k.shape[0]} of k")
            if bool((lengths > k_len).any()) or bool((lengths < 0).any()):
                raise ValueError("lengths: a row is longer than its block_table, or below 0")
        rows = selection.rows
        first = (lengths - q_len).clamp(min=0) // size
        end = torch.where(lengths > 0, -(-lengths // size), first) if q_len else first
        if not torch.equal(first, rows.first) or bool((end > rows.first + rows.entries).any()):
            raise ValueError("selection: made for other query blocks than those of q; see query_blocks()")
        if not torch.equal(torch.maximum(first, end), rows.end):
            raise ValueError("selection: made for rows of another length")
    if scaling is None:
        scaling = head_dim**-0.5
    return Call(q, k, v, selection, lengths, k_len, block_table, scaling)
