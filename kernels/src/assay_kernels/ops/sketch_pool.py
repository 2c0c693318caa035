"""sketch_pool: each block's mean, seen through a random Hadamard sketch.

Token space: the mean of the block's queries or keys, after RoPE, over the tokens it really has.
Feature space: the subsampled randomised Hadamard transform of that mean, H D x with random signs D, r of its n
coordinates kept, n the power of two that head_dim is padded to. arXiv:2602.07397, section on sketches; the release
divides a partial block by block_size, and scales right only for r = n = 128.
"""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from assay_kernels.dispatch import FLOATS, Implementation, choose
from assay_kernels.query_blocks import QueryBlocks, check_starts, query_blocks, row_lengths
from assay_kernels.triton_import import tl, triton


@dataclass(frozen=True)
class FeatureSketch:
    """The random part of a sketch, the same for the queries and the keys it is to compare."""

    signs: Tensor  # float32 [n], +1 or -1
    coordinates: Tensor  # int64 [sketch_dim], ascending, distinct, below n
    head_dim: int

    @property
    def sketch_dim(self) -> int:
        return self.coordinates.shape[0]

    @property
    def padded_dim(self) -> int:
        """n: head_dim padded to a power of two."""
        return self.signs.shape[0]


@dataclass(frozen=True)
class BlockSketch:
    """Sketches of the blocks that a call's tokens touch, and what the next call needs to go on.

    sketches: float32 [batch, heads, entries, sketch_dim]; the last block of a row may still be open, its sketch is
    that of its tokens so far. Zeros where an entry is empty.
    open_sum: float32 [batch, heads, head_dim], sum of the tokens of the row's last block while that is incomplete.
    rows: which block each entry stands for.
    """

    sketches: Tensor
    open_sum: Tensor
    rows: QueryBlocks


def feature_sketch(
    head_dim: int, sketch_dim: int | None = None, *, seed: int, device: torch.device | str | None = None
) -> FeatureSketch:
    """Signs and coordinates drawn from `seed`, the same on every device; sketch_dim None keeps all coordinates.

    Raises ValueError unless 1 <= sketch_dim <= n, head_dim padded to a power of two.
    """
    if head_dim < 1:
        raise ValueError(f"head_dim: {head_dim} is below 1")
    padded = 1 << (head_dim - 1).bit_length()
    kept = padded if sketch_dim is None else sketch_dim
    if not 1 <= kept <= padded:
        raise ValueError(f"sketch_dim: {kept} is not within 1 and {padded}, the padded head_dim")
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (padded,), generator=generator).float() * 2 - 1
    coordinates = torch.randperm(padded, generator=generator)[:kept].sort().values
    return FeatureSketch(signs.to(device), coordinates.to(device), head_dim)


def sketch_pool(
    x: Tensor,
    sketch: FeatureSketch,
    *,
    block_size: int,
    k_len: int | None = None,
    starts: Tensor | None = None,
    open_sum: Tensor | None = None,
    implementation: Implementation | None = None,
) -> BlockSketch:
    """Sketches of the blocks that x's tokens touch: s = (H D mean)[coordinates] / sqrt(sketch_dim).

    <s_q, s_k> is an unbiased estimate of <mean_q, mean_k> over the draw of the sketch, for every sketch_dim, and
    equal to it where all coordinates are kept.

    x: [batch, heads, length, head_dim], queries or keys after RoPE: the last `length` of k_len tokens (None: all).
    open_sum: of the call before, where x goes on in a block that it left incomplete; None at a block's beginning.
    Tokens are added one by one, in order, in float32: however a text is cut into calls, the sketches are the same to
    the last bit. Raises ValueError for shapes and dtypes that do not fit.
    """
    batch, heads, length, head_dim = check_tokens(x, sketch)
    k_len = length if k_len is None else k_len
    if starts is not None:
        check_starts(starts, batch)
    rows = query_blocks(length, k_len, block_size, starts=starts, batch=batch, device=x.device)
    if open_sum is None:
        open_sum = x.new_zeros((batch, heads, head_dim), dtype=torch.float32)
    elif open_sum.shape != (batch, heads, head_dim) or open_sum.dtype != torch.float32:
        raise ValueError(f"open_sum: {open_sum.dtype} {tuple(open_sum.shape)}; it is float32 [batch, heads, head_dim]")
    chosen = choose(implementation, x)
    lengths = row_lengths(k_len, starts, batch=batch, device=x.device)
    if chosen == "reference":
        return _reference(x, sketch, rows, lengths, open_sum)
    if chosen == "triton":
        return _launch(x, sketch, rows, lengths, open_sum)
    return _cpu(x, sketch, rows, k_len, starts, open_sum)


def extend_blocks(stored: Tensor | None, new: BlockSketch) -> Tensor:
    """The sketches of a row's blocks from 0 on, `stored` [batch, heads, blocks, sketch_dim] with `new` put in.

    Block j of the result is block j of the row; blocks that a row does not have are zeros. `stored` is not changed.
    """
    batch, heads, _, sketch_dim = new.sketches.shape
    kept = 0 if stored is None else stored.shape[2]
    blocks = max(kept, int(new.rows.end.max()) if batch else 0)
    result = new.sketches.new_zeros((batch, heads, blocks, sketch_dim))
    if stored is not None:
        result[:, :, :kept] = stored
    ids = new.rows.ids()
    row, entry = (ids >= 0).nonzero(as_tuple=True)
    result[row, :, ids[row, entry]] = new.sketches[row, :, entry]
    return result


def hadamard(x: Tensor) -> Tensor:
    """H x over the last dimension, a power of two, with the natural Hadamard matrix: butterflies, unnormalised."""
    size, half = x.shape[-1], 1
    while half < size:
        pairs = x.unflatten(-1, (size // (2 * half), 2, half))
        upper, lower = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack((upper + lower, upper - lower), dim=-2).flatten(-3)
        half *= 2
    return x


def check_tokens(x: Tensor, sketch: FeatureSketch) -> tuple[int, int, int, int]:
    if x.dim() != 4 or x.shape[3] != sketch.head_dim:
        raise ValueError(f"x: shape {tuple(x.shape)}; it is [batch, heads, length, {sketch.head_dim}]")
    if x.dtype not in FLOATS:
        raise ValueError(f"x: {x.dtype}; it is float32, float16 or bfloat16")
    batch, heads, length, head_dim = x.shape
    return batch, heads, length, head_dim


def _apply(sketch: FeatureSketch, means: Tensor) -> Tensor:
    padded = F.pad(means, (0, sketch.padded_dim - sketch.head_dim)) * sketch.signs
    scale = 1 / math.sqrt(sketch.sketch_dim)
    return hadamard(padded)[..., sketch.coordinates] * scale


def _reference(x: Tensor, sketch: FeatureSketch, rows: QueryBlocks, lengths: Tensor, open_sum: Tensor) -> BlockSketch:
    batch, heads, length, _ = x.shape
    size = rows.block_size
    matrix = hadamard(torch.eye(sketch.padded_dim, device=x.device))[sketch.coordinates] * sketch.signs
    matrix = matrix[:, : sketch.head_dim] / sketch.sketch_dim**0.5  # [sketch_dim, head_dim]
    sketches = open_sum.new_zeros((batch, heads, rows.entries, sketch.sketch_dim))
    left = torch.zeros_like(open_sum)
    for b in range(batch):
        end = int(lengths[b])
        begin = max(0, end - length)
        for entry in range(rows.entries):
            block = int(rows.first[b]) + entry
            low, high = max(block * size, begin), min((block + 1) * size, end)
            if low >= high:
                continue
            total = x[b, :, low - end + length : high - end + length].float().sum(1)
            if low > block * size:
                total = total + open_sum[b]
            sketches[b, :, entry] = total / (high - block * size) @ matrix.T
            if high < (block + 1) * size:
                left[b] = total
    return BlockSketch(sketches, left, rows)


def _cpu(
    x: Tensor, sketch: FeatureSketch, rows: QueryBlocks, k_len: int, starts: Tensor | None, open_sum: Tensor
) -> BlockSketch:
    batch, heads, length, head_dim = x.shape
    if starts is None:
        sums, counts = _block_sums(x, k_len, rows.block_size, open_sum)
    else:
        sums = open_sum.new_zeros((batch, heads, rows.entries, head_dim))
        counts = torch.ones((batch, rows.entries), device=x.device)
        for b, start in enumerate(starts.tolist()):
            tokens = x[b : b + 1, :, max(0, length - max(0, k_len - start)) :]
            if tokens.shape[2]:
                part, count = _block_sums(tokens, k_len - start, rows.block_size, open_sum[b : b + 1])
                sums[b, :, : part.shape[2]], counts[b, : part.shape[2]] = part[0], count
    sketches = _apply(sketch, sums / counts[..., None, :, None] if starts is not None else sums / counts[:, None])
    # The last block of a row is open unless the row ends with it.
    lengths = row_lengths(k_len, starts, batch=batch, device=x.device)
    if starts is None:
        left = sums[:, :, -1] if rows.entries and k_len % rows.block_size else torch.zeros_like(open_sum)
    else:
        last = (rows.end - rows.first - 1).clamp(min=0)
        left = sums[torch.arange(batch, device=x.device), :, last] if rows.entries else open_sum
        left = torch.where((lengths % rows.block_size > 0)[:, None, None], left, 0.0)
    return BlockSketch(sketches, left.clone(), rows)


def _block_sums(x: Tensor, length: int, size: int, open_sum: Tensor) -> tuple[Tensor, Tensor]:
    """Sums [batch, heads, blocks, head_dim] and token counts [blocks] of the blocks that x, a row's end, touches."""
    batch, heads, new, head_dim = x.shape
    begin = length - new
    blocks = -(-length // size) - begin // size if new else 0
    counts = torch.full((blocks,), float(size), device=x.device)
    if not blocks:
        return open_sum.new_zeros((batch, heads, 0, head_dim)), counts
    if length % size:
        counts[-1] = length % size
    before, after = begin % size, -length % size
    padded = F.pad(x, (0, 0, before, after)) if before or after else x
    tokens = padded.unflatten(2, (blocks, size))
    sums = open_sum.new_zeros((batch, heads, blocks, head_dim))
    if before:
        sums[:, :, 0] = open_sum
    # One add per position of a block, and none that would only add padding: a decoded token costs one.
    alone = range(before, size - after) if blocks == 1 else range(size)
    for offset in alone:
        sums += tokens[:, :, :, offset]
    return sums, counts


def _launch(x: Tensor, sketch: FeatureSketch, rows: QueryBlocks, lengths: Tensor, open_sum: Tensor) -> BlockSketch:
    batch, heads, length, head_dim = x.shape
    sketches = open_sum.new_zeros((batch, heads, rows.entries, sketch.sketch_dim))
    left = torch.zeros_like(open_sum)
    if not batch or not rows.entries:
        return BlockSketch(sketches, left, rows)
    # Where each coordinate of H D x goes; beyond sketch_dim where it is dropped.
    slots = torch.full_like(sketch.signs, sketch.sketch_dim, dtype=torch.int32)
    slots[sketch.coordinates] = torch.arange(sketch.sketch_dim, dtype=torch.int32, device=x.device)
    open_sum = open_sum.contiguous()
    _pool_kernel[(rows.entries, heads, batch)](
        x, open_sum, sketch.signs, slots, rows.first, lengths, sketches, left,
        *x.stride(), length, heads, rows.entries, sketch.sketch_dim, 1 / math.sqrt(sketch.sketch_dim),
        HEAD_DIM=head_dim, D=sketch.padded_dim, LOG_D=sketch.padded_dim.bit_length() - 1, SIZE=rows.block_size,
        num_warps=1,
    )  # fmt: skip
    return BlockSketch(sketches, left, rows)


@triton.jit
def _pool_kernel(
    x, open_sum, signs, slots, first, lengths, sketches, left,
    stride_b, stride_h, stride_t, stride_d, new, heads, entries, sketch_dim, scale,
    HEAD_DIM: tl.constexpr, D: tl.constexpr, LOG_D: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """One block of one head: tokens added in order, then the butterflies in registers."""
    entry = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    length = tl.load(lengths + b)
    block = tl.load(first + b) + entry
    low = tl.maximum(block * SIZE, tl.maximum(length - new, 0))
    high = tl.minimum((block + 1) * SIZE, length)
    if low >= high:
        return
    dims = tl.arange(0, D)
    inside = dims < HEAD_DIM
    carried = open_sum + (b * heads + head) * HEAD_DIM + dims
    total = tl.load(carried, mask=inside & (0 * dims < low - block * SIZE), other=0.0)
    token = x + b * stride_b + head * stride_h + (low - length + new) * stride_t + dims * stride_d
    for _ in range(high - low):
        total += tl.load(token, mask=inside, other=0.0).to(tl.float32)
        token += stride_t
    if high < (block + 1) * SIZE:
        tl.store(left + (b * heads + head) * HEAD_DIM + dims, total, mask=inside)
    mixed = total / (high - block * SIZE).to(tl.float32) * tl.load(signs + dims)
    for stage in tl.static_range(LOG_D):
        pairs = tl.permute(tl.reshape(mixed, [D // (2 << stage), 2, 1 << stage]), (0, 2, 1))
        upper, lower = tl.split(pairs)
        mixed = tl.reshape(tl.permute(tl.join(upper + lower, upper - lower), (0, 2, 1)), [D])
    slot = tl.load(slots + dims)
    to = sketches + ((b * heads + head) * entries + entry) * sketch_dim + slot
    tl.store(to, mixed * scale, mask=slot < sketch_dim)
