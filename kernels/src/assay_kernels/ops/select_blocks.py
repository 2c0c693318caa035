"""select_blocks: the key blocks that each query block attends to, by score or to a density budget."""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.query_blocks import QueryBlocks, check_block_size
from assay_kernels.selection import BlockSelection
from assay_kernels.triton_import import tl, triton


def select_blocks(
    scores: Tensor,
    rows: QueryBlocks,
    *,
    top_k: int | None = None,
    density: float | None = None,
    sink_blocks: int = 1,
    window_blocks: int = 1,
    implementation: Implementation | None = None,
) -> BlockSelection:
    """The forced blocks and the best scored of the others, among the blocks up to the query block.

    scores: float32 [batch, entries, blocks], shared by all heads, or [batch, heads, entries, blocks]; finite.
    Forced: the query block itself, the first `sink_blocks` blocks and the `window_blocks` blocks before it.
    Then either `top_k` further blocks, or as many as block_budget allows for `density`; all of them where there are
    fewer. Ties go to the lowest index. How many a query block gets depends on its place in the row alone, so a text
    fed in chunks selects what it selects in one go. Raises ValueError for parameters that do not fit.
    """
    if scores.dim() == 3:
        scores = scores[:, None]
    if scores.dim() != 4 or scores.dtype != torch.float32:
        raise ValueError(f"scores: {scores.dtype} {tuple(scores.shape)}; they are float32 [batch, entries, blocks]")
    if scores.shape[0] != rows.first.shape[0] or scores.shape[2] != rows.entries:
        raise ValueError(
            f"scores: shape {tuple(scores.shape)} for {rows.first.shape[0]} rows of {rows.entries} entries"
        )
    if (top_k is None) == (density is None):
        raise ValueError("top_k, density: give one of the two")
    if top_k is not None and top_k < 0:
        raise ValueError(f"top_k: {top_k} is below 0")
    check_forced(sink_blocks, window_blocks)
    blocks = scores.shape[3]
    chosen = choose(implementation, scores)
    ids = rows.ids()
    forced = forced_count(ids, sink_blocks, window_blocks)
    if density is None:
        wanted = forced + (top_k or 0)
    else:
        check_density(density)
        table = _budget_on(blocks, density, rows.block_size, sink_blocks, window_blocks, ids.device)
        wanted = table[ids.clamp(min=0)]
    wanted = torch.minimum(wanted, ids + 1)  # 0 where the entry is empty
    capacity = _capacity(blocks, top_k, density, rows.block_size, sink_blocks, window_blocks)
    forced_blocks = is_forced(ids, blocks, sink_blocks, window_blocks)
    keys = torch.where(forced_blocks[:, None], torch.inf, scores)
    keys = keys.masked_fill((torch.arange(blocks, device=ids.device) > ids[..., None])[:, None], -torch.inf)
    if chosen == "reference":
        return _reference(keys, wanted, capacity, rows)
    if chosen == "triton":
        return _launch(keys, wanted, capacity, rows)
    return _cpu(keys, wanted, capacity, rows)


def block_budget(
    blocks: int, density: float, block_size: int, *, sink_blocks: int = 1, window_blocks: int = 1
) -> Tensor:
    """int64 [blocks]: how many key blocks each query block may attend to, itself included.

    Summed up to any query block, attended (query, key) pairs stay as near to `density` of the causal ones as whole
    blocks and forced ones allow. What the first query blocks overspend, because their forced blocks alone are more,
    later ones save: each gives up to half of what it may choose freely. The budget of a query block does not depend
    on the text's length. Raises ValueError unless 0 < density <= 1.
    """
    check_block_size(block_size)
    check_forced(sink_blocks, window_blocks)
    check_density(density)
    table = _budget(1 << max(0, blocks - 1).bit_length(), density, block_size, sink_blocks, window_blocks)
    return torch.tensor(table[:blocks], dtype=torch.int64)


@functools.lru_cache(maxsize=256)
def _budget(blocks: int, density: float, size: int, sink_blocks: int, window_blocks: int) -> tuple[int, ...]:
    diagonal = (size + 1) / (2 * size)  # causal pairs within a block, in units of size^2
    budget, debt = [], 0.0
    for block in range(blocks):
        share = density * (block + diagonal)
        least = min(block + 1, sink_blocks + window_blocks + 1)
        free = share - (least - 1 + diagonal)
        afford = share - (min(debt, max(free, 0.0) / 2) if debt > 0 else debt)
        count = min(block + 1, max(least, 1 + math.floor(afford - diagonal + 0.5)))
        debt += count - 1 + diagonal - share
        budget.append(count)
    return tuple(budget)


@functools.lru_cache(maxsize=256)
def _budget_on(
    blocks: int, density: float, size: int, sink_blocks: int, window_blocks: int, device: torch.device
) -> Tensor:
    """block_budget, kept where it is read: a copy to a GPU would stop the capture of a graph."""
    table = block_budget(blocks, density, size, sink_blocks=sink_blocks, window_blocks=window_blocks)
    return table.to(device)


def check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density: {density} is not within 0 (excluded) and 1 (included)")


def check_forced(sink_blocks: int, window_blocks: int) -> None:
    if sink_blocks < 0 or window_blocks < 0:
        raise ValueError(f"sink_blocks, window_blocks: {sink_blocks} and {window_blocks}; neither is below 0")


def is_forced(ids: Tensor, blocks: int, sink_blocks: int, window_blocks: int) -> Tensor:
    """bool [batch, entries, blocks]: sink, window and the query block itself."""
    block = torch.arange(blocks, device=ids.device)
    ids = ids[..., None]
    return (block <= ids) & ((block < sink_blocks) | (block >= ids - window_blocks))


def forced_count(ids: Tensor, sink_blocks: int, window_blocks: int) -> Tensor:
    """How many blocks are forced for each query block; 0 for id -1."""
    return torch.minimum(ids + 1, torch.full_like(ids, sink_blocks + window_blocks + 1))


def _capacity(
    blocks: int, top_k: int | None, density: float | None, size: int, sink_blocks: int, window_blocks: int
) -> int:
    if density is None:
        most = sink_blocks + window_blocks + 1 + (top_k or 0)
    else:
        padded = 1 << max(0, blocks - 1).bit_length()
        most = max(_budget(padded, density, size, sink_blocks, window_blocks)[:blocks], default=0)
    return max(1, min(blocks, most))


def _reference(keys: Tensor, wanted: Tensor, capacity: int, rows: QueryBlocks) -> BlockSelection:
    batch, heads, entries, _ = keys.shape
    indices = torch.zeros((batch, heads, entries, capacity), dtype=torch.int32)
    for b in range(batch):
        for h in range(heads):
            for entry in range(entries):
                ranked = sorted((-key, block) for block, key in enumerate(keys[b, h, entry].tolist()))
                best = sorted(block for _, block in ranked[: int(wanted[b, entry])])
                indices[b, h, entry, : len(best)] = torch.tensor(best, dtype=torch.int32)
    return _selection(indices.to(keys.device), wanted, rows)


def _cpu(keys: Tensor, wanted: Tensor, capacity: int, rows: QueryBlocks) -> BlockSelection:
    blocks = keys.shape[-1]
    # A stable sort leaves ties in order of their index.
    order = torch.sort(keys, dim=-1, descending=True, stable=True).indices[..., :capacity]
    rank = torch.arange(order.shape[-1], device=keys.device)
    order = torch.where(rank < wanted[:, None, :, None], order, blocks).to(torch.int32)
    indices = torch.sort(order, dim=-1).values
    indices = torch.where(indices < blocks, indices, 0)
    return _selection(indices, wanted, rows)


def _selection(indices: Tensor, wanted: Tensor, rows: QueryBlocks) -> BlockSelection:
    counts = wanted.to(torch.int32)[:, None].expand(indices.shape[:3]).contiguous()
    return BlockSelection(indices, counts, rows)


def _launch(keys: Tensor, wanted: Tensor, capacity: int, rows: QueryBlocks) -> BlockSelection:
    batch, heads, entries, blocks = keys.shape
    indices = torch.zeros((batch, heads, entries, capacity), dtype=torch.int32, device=keys.device)
    if indices.numel() and blocks:
        _select_kernel[(entries, heads, batch)](
            keys.contiguous(), wanted.contiguous(), indices, heads, entries, blocks, capacity,
            BLOCKS=triton.next_power_of_2(blocks), num_warps=4,
        )  # fmt: skip
    return _selection(indices, wanted, rows)


@triton.jit
def _select_kernel(keys, wanted, indices, heads, entries, blocks, capacity, BLOCKS: tl.constexpr):
    """The `wanted` largest keys of a row, lowest index first among equals: the threshold bit by bit, then a scan."""
    entry = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    want = tl.load(wanted + b * entries + entry).to(tl.int32)
    row = (b * heads + head) * entries + entry
    block = tl.arange(0, BLOCKS)
    key = tl.load(keys + row * blocks + block, mask=block < blocks, other=float("-inf"))
    # Integers in the order of the floats; adding 0 makes -0 the 0 that it equals.
    bits = (key + 0.0).to(tl.int32, bitcast=True)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 0x80000000
    order = tl.where((block < blocks) & (key != float("-inf")), order, -1)
    threshold = tl.zeros([1], tl.int64)
    for step in range(32):
        higher = threshold + (tl.full([1], 1, tl.int64) << (31 - step))
        enough = tl.sum((order >= higher).to(tl.int32), 0) >= want
        threshold = tl.where(enough, higher, threshold)
    above = order > threshold
    ties = (order == threshold).to(tl.int32)
    room = want - tl.sum(above.to(tl.int32), 0)
    taken = above | ((ties > 0) & (tl.cumsum(ties, 0) <= room))
    place = tl.cumsum(taken.to(tl.int32), 0) - 1
    tl.store(indices + row * capacity + place, block, mask=taken & (place < want))
