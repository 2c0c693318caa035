"""block_score: how much attention each query block pays to each block before it, estimated from the sketches.

A[i, j] = 1/H sum_h softmax_j(scaling <q~_hi, k~_hj>), one matrix for all heads (arXiv:2602.07397). Causal at block
level: j < i. The diagonal stays out, because the mean of a query block's own keys knows tokens that come after most
of its queries; it is always attended, so it needs no score.
"""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.exact import GRID_BITS, round_to_grid, to_integers
from assay_kernels.query_blocks import QueryBlocks
from assay_kernels.triton_import import tl, triton

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
    if chosen == "triton":
        return _own_block(_launch(q_sketch, k_sketch, rows, scaling, causal), rows, allowed)
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


def _launch(q_sketch: Tensor, k_sketch: Tensor, rows: QueryBlocks, scaling: float, causal: bool) -> Tensor:
    batch, heads, entries, sketch_dim = q_sketch.shape
    kv_heads, blocks = k_sketch.shape[1:3]
    scores = q_sketch.new_zeros((batch, entries, blocks))
    if not scores.numel():
        return scores
    _score_kernel[(triton.cdiv(entries, 16), batch)](
        q_sketch, k_sketch, scores, rows.first, rows.end, *q_sketch.stride(), *k_sketch.stride(),
        scaling, entries, blocks, heads, heads // kv_heads, sketch_dim, 1.0 / heads,
        M=16, N=32, R=max(16, triton.next_power_of_2(sketch_dim)), CAUSAL=causal, BITS=GRID_BITS, num_warps=4,
    )  # fmt: skip
    return scores


@triton.jit
def _score_kernel(
    q, k, scores, first, end, stride_qb, stride_qh, stride_qe, stride_qr, stride_kb, stride_kh, stride_kj, stride_kr,
    scaling, entries, blocks, heads, group, sketch_dim, share,
    M: tl.constexpr, N: tl.constexpr, R: tl.constexpr, CAUSAL: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """M query blocks: for each head the softmax statistics, then its weights added to the rows, head after head.

    Tiles have one size whatever the call's shape, so that a row's sums have one order.
    """
    b = tl.program_id(1).to(tl.int64)
    entry = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    begin = tl.load(first + b)
    stop = tl.load(end + b)
    query = begin + entry
    real = (entry < entries) & (query < stop)
    lanes = tl.arange(0, R)
    below = tl.minimum(query, blocks) if CAUSAL else tl.minimum(stop, blocks) + 0 * query
    below = tl.where(real, below, 0)
    most = tl.max(below, 0)
    for head in range(heads):
        at = q + b * stride_qb + head * stride_qh + entry[:, None] * stride_qe + lanes[None, :] * stride_qr
        q_tile = tl.load(at, mask=real[:, None] & (lanes < sketch_dim)[None, :], other=0.0)
        keys = k + b * stride_kb + (head // group) * stride_kh
        m = tl.full([M], float("-inf"), tl.float32)
        total = tl.zeros([M], tl.float32)
        for low in range(0, most, N):
            j = low + tl.arange(0, N)
            logits = _logits(q_tile, keys, j, below, blocks, sketch_dim, stride_kj, stride_kr, scaling, lanes)
            new_m = tl.maximum(m, tl.max(logits, 1))
            safe_m = tl.where(new_m == float("-inf"), 0.0, new_m)
            total = total * tl.exp(m - safe_m) + tl.sum(tl.exp(logits - safe_m[:, None]), 1)
            m = new_m
        safe_m = tl.where(m == float("-inf"), 0.0, m)
        factor = share / tl.where(total == 0, 1.0, total)
        for low in range(0, most, N):
            j = low + tl.arange(0, N)
            logits = _logits(q_tile, keys, j, below, blocks, sketch_dim, stride_kj, stride_kr, scaling, lanes)
            to = scores + (b * entries + entry[:, None]) * blocks + j[None, :]
            inside = j[None, :] < below[:, None]
            sums = tl.load(to, mask=inside, other=0.0) + tl.exp(logits - safe_m[:, None]) * factor[:, None]
            if head == heads - 1:
                sums = tl.floor(sums * (1 << BITS) + 0.5) * (1.0 / (1 << BITS))
            tl.store(to, sums, mask=inside)


@triton.jit
def _logits(q_tile, keys, j, below, blocks, sketch_dim, stride_j, stride_r, scaling, lanes):
    inside = (j < blocks)[None, :] & (lanes < sketch_dim)[:, None]
    k_tile = tl.load(keys + j[None, :] * stride_j + lanes[:, None] * stride_r, mask=inside, other=0.0)
    # Three products of tensor cores for one of float32: its accuracy, without spilling registers.
    logits = tl.dot(q_tile, k_tile, input_precision="tf32x3") * scaling
    return tl.where(j[None, :] < below[:, None], logits, float("-inf"))
