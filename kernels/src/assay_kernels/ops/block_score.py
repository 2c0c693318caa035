"""block_score: how much attention each query block pays to each block before it, estimated from the sketches.

A[i, j] = 1/H sum_h softmax_j(scaling <q~_hi, k~_hj>), one matrix for all heads (arXiv:2602.07397). Causal at block
level: j < i. The diagonal stays out, because the mean of a query block's own keys knows tokens that come after most
of its queries; it is always attended, so it needs no score.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.exact import GRID_BITS, round_to_grid, to_integers
from assay_kernels.query_blocks import QueryBlocks

# Softmax terms on a grid of 2^-32: up to 2^21 of them add without rounding, in any order.
TERM_BITS = 32
# Elements of float64 worked on at a time: a part of the cache that a core has to itself.
TILE = 1 << 17


def block_score(
    q_sketch: Tensor,
    k_sketch: Tensor,
    rows: QueryBlocks,
    *,
    scaling: float,
    causal: bool = True,
    implementation: Implementation | None = None,
) -> Tensor:
    """A, float32 [batch, entries, blocks]; each row sums to 1 over the blocks before its query block.

    q_sketch: float32 [batch, query_heads, entries, sketch_dim], of the query blocks `rows`; k_sketch: float32
    [batch, kv_heads, blocks, sketch_dim], of the row's blocks from 0 on. scaling: that of the attention the score
    stands for, 1/sqrt(head_dim) as a rule and whatever the sketch_dim is. Query block 0, which has nothing before
    it, puts its weight on itself; the row of an empty entry is zeros. causal=False lets every block of the row be
    scored, later ones and the diagonal included, as the paper's release does.

    Several queries for one entry (a window of them, in decoding) go in as further heads: q_sketch of
    [batch, query_heads * window, 1, sketch_dim], a head's queries next to each other.

    The CPU path rounds onto grids on which every sum is exact, so that A is the same to the last bit however the
    text was cut into calls and whatever else is in the batch. Raises ValueError for shapes that do not fit.
    """
    check_sketches(q_sketch, k_sketch, rows)
    if not math.isfinite(scaling):
        raise ValueError(f"scaling: {scaling} is not finite")
    chosen = choose(implementation, q_sketch)
    allowed = scored_blocks(rows, k_sketch.shape[2], causal)
    if chosen == "reference":
        return _reference(q_sketch, k_sketch, rows, allowed, scaling)
    return _cpu(q_sketch, k_sketch, rows, allowed, scaling)


def scored_blocks(rows: QueryBlocks, blocks: int, causal: bool) -> Tensor:
    """bool [batch, entries, blocks]: the blocks that may be scored."""
    ids = rows.ids()[..., None]
    block = torch.arange(blocks, device=ids.device)
    return block < ids if causal else (block < rows.end[:, None, None]) & (ids >= 0)


def check_sketches(q_sketch: Tensor, k_sketch: Tensor, rows: QueryBlocks) -> None:
    if q_sketch.dim() != 4 or k_sketch.dim() != 4 or q_sketch.dtype != torch.float32 or k_sketch.dtype != torch.float32:
        raise ValueError("q_sketch and k_sketch: float32 [batch, heads, blocks, sketch_dim] each")
    if q_sketch.shape[0] != k_sketch.shape[0] or q_sketch.shape[3] != k_sketch.shape[3]:
        raise ValueError(
            f"q_sketch, k_sketch: shapes {tuple(q_sketch.shape)} and {tuple(k_sketch.shape)} differ in batch or "
            "sketch_dim"
        )
    if not k_sketch.shape[1] or q_sketch.shape[1] % k_sketch.shape[1]:
        raise ValueError(f"q_sketch: {q_sketch.shape[1]} heads are no multiple of {k_sketch.shape[1]} key heads")
    if rows.first.shape[0] != q_sketch.shape[0] or rows.entries != q_sketch.shape[2]:
        raise ValueError(
            f"rows: {rows.entries} entries for {rows.first.shape[0]} rows; q_sketch has {tuple(q_sketch.shape)}"
        )


def _own_block(scores: Tensor, rows: QueryBlocks, allowed: Tensor) -> Tensor:
    """Rows without a scored block: all weight on the query block itself, none where the entry is empty."""
    block = torch.arange(scores.shape[2], device=scores.device)
    alone = (block == rows.ids()[..., None]).to(scores.dtype)
    return torch.where(allowed.any(-1, keepdim=True), scores, alone)


def _reference(q_sketch: Tensor, k_sketch: Tensor, rows: QueryBlocks, allowed: Tensor, scaling: float) -> Tensor:
    group = q_sketch.shape[1] // k_sketch.shape[1]
    logits = q_sketch @ k_sketch.repeat_interleave(group, 1).transpose(2, 3) * scaling
    weights = torch.softmax(logits.masked_fill(~allowed[:, None], -torch.inf), dim=-1)
    scores = weights.sum(1)
    return _own_block(scores / scores.sum(-1, keepdim=True), rows, allowed)


def _cpu(q_sketch: Tensor, k_sketch: Tensor, rows: QueryBlocks, allowed: Tensor, scaling: float) -> Tensor:
    batch, heads, entries, sketch_dim = q_sketch.shape
    kv_heads, blocks = k_sketch.shape[1:3]
    group = heads // kv_heads
    q, q_unit = to_integers(q_sketch, sketch_dim)
    k, k_unit = to_integers(k_sketch, sketch_dim)
    k, k_unit = k.transpose(2, 3), k_unit.transpose(2, 3) * scaling
    scores = q_sketch.new_zeros((batch, entries, blocks))
    step = max(1, TILE // max(1, heads * blocks))
    for low in range(0, entries, step):
        part = slice(low, min(low + step, entries))
        count = part.stop - low
        packed = q[:, :, part].reshape(batch, kv_heads, group * count, sketch_dim)
        logits = (packed @ k).unflatten(2, (group, count))
        logits *= q_unit[:, :, part].unflatten(1, (kv_heads, group))
        logits *= k_unit[:, :, None]
        logits.masked_fill_(~allowed[:, None, None, part], -torch.inf)
        # A row without a scored block has no maximum; it is replaced below.
        logits -= logits.amax(-1, keepdim=True).clamp(min=-1e300)
        terms = logits.exp_().mul_(2.0**TERM_BITS).round_()
        terms /= terms.sum(-1, keepdim=True).clamp(min=1)
        total = torch.zeros_like(terms[:, 0, 0])
        for head in range(heads):  # in order: float addition does not commute with regrouping
            total += terms[:, head // group, head % group]
        scores[:, part] = round_to_grid(total / heads, GRID_BITS)
    return _own_block(scores, rows, allowed)
