"""walk: sparsity that accumulates over hops and layers.

S <- (1 - b) A + b S A, `degree` times, from the state that the layer before left (arXiv:2602.07397). Written out for
degree 3: R = (1 - b)(A + b A^2 + b^2 A^3) + b^3 S_0 A^3.
"""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.exact import GRID_BITS, round_to_grid
from assay_kernels.triton_import import tl, triton

# Up to so many rows, reading A bounds a step, and a GPU should not first write it out in float64.
FEW = 16
# Elements of float64 worked on at a time: a part of the cache that a core has to itself.
TILE = 1 << 17


def walk(
    one_hop: Tensor,
    transitions: Tensor,
    state: Tensor | None = None,
    *,
    damping: float,
    degree: int,
    implementation: Implementation | None = None,
) -> Tensor:
    """R, float32 [batch, entries, blocks]; rows of weight 1 keep weight 1.

    one_hop: float32 [batch, entries, blocks], the rows of A (block_score) of the query blocks at hand; transitions:
    float32 [batch, blocks, blocks], A of this layer for all blocks so far, those rows among them. state: R of the
    layer before for the same query blocks, None where there is none (the walk then starts from A). damping: b within
    [0, 1). degree 0 is the one-hop baseline: A itself, whatever the state.

    But for the reference, weights are kept on the grid of multiples of 2^-24 that block_score leaves A on, where
    float64 products add up exactly: a row is the same to the last bit whether it is computed alone or with all
    others. On a GPU many rows are cuBLAS's, few (decoding) a Triton kernel's. Raises ValueError for shapes and
    parameters that do not fit.
    """
    if not 0 <= damping < 1:
        raise ValueError(f"damping: {damping} is not within 0 (included) and 1 (excluded)")
    if degree < 0:
        raise ValueError(f"degree: {degree} is below 0")
    batch, _, blocks = one_hop.shape
    if transitions.shape != (batch, blocks, blocks):
        raise ValueError(f"transitions: shape {tuple(transitions.shape)}; here it is {(batch, blocks, blocks)}")
    if state is not None and state.shape != one_hop.shape:
        raise ValueError(f"state: shape {tuple(state.shape)}; here it is {tuple(one_hop.shape)}")
    chosen = choose(implementation, one_hop)
    if chosen == "reference":
        return _reference(one_hop, transitions, state, damping, degree)
    if chosen == "triton" and one_hop.shape[1] <= FEW:
        return _launch(one_hop, transitions, state, damping, degree) if degree else one_hop.clone()
    return _exact(one_hop, transitions, state, damping, degree)


def _reference(a: Tensor, transitions: Tensor, state: Tensor | None, damping: float, degree: int) -> Tensor:
    s = a if state is None or degree == 0 else state
    for _ in range(degree):
        s = (1 - damping) * a + damping * s @ transitions
    return s


def _exact(a: Tensor, transitions: Tensor, state: Tensor | None, damping: float, degree: int) -> Tensor:
    if degree == 0:
        return a.clone()
    a = a.double()
    s = a if state is None else round_to_grid(state.double(), GRID_BITS)
    for _ in range(degree):
        s = round_to_grid((1 - damping) * a + damping * _hop(s, transitions), GRID_BITS)
    return s.to(torch.float32)


def _hop(s: Tensor, transitions: Tensor) -> Tensor:
    """S A. For few rows a tile of A at a time, so that its float64 copy stays in the cache."""
    blocks = transitions.shape[1]
    tile = max(1, TILE // max(1, blocks)) if s.shape[1] <= FEW else blocks
    reached = torch.zeros_like(s)
    for low in range(0, blocks, tile):
        reached += s[:, :, low : low + tile] @ transitions[:, low : low + tile].double()
    return reached


def _launch(a: Tensor, transitions: Tensor, state: Tensor | None, damping: float, degree: int) -> Tensor:
    batch, entries, blocks = a.shape
    s = (a.double() if state is None else round_to_grid(state.double(), GRID_BITS)).contiguous()
    if not a.numel():
        return a.clone()
    for _ in range(degree):
        step = torch.empty_like(s)
        _step_kernel[(triton.cdiv(blocks, 32), entries, batch)](
            a, transitions, s, step, *a.stride(), *transitions.stride(), damping, entries, blocks,
            BITS=GRID_BITS, K=64, N=32, num_warps=4,
        )  # fmt: skip
        s = step
    return s.to(torch.float32)


@triton.jit
def _step_kernel(
    a, transitions, s, step, stride_ab, stride_ae, stride_aj, stride_tb, stride_ti, stride_tj, damping, entries, blocks,
    BITS: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """N entries of one row of (1 - b) A + b S A, in float64."""
    column = tl.program_id(0) * N + tl.arange(0, N)
    entry = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    own = (b * entries + entry) * blocks
    total = tl.zeros([N], tl.float64)
    for low in range(0, blocks, K):
        hop = low + tl.arange(0, K)
        weight = tl.load(s + own + hop, mask=hop < blocks, other=0.0)
        at = transitions + b * stride_tb + hop[:, None].to(tl.int64) * stride_ti + column[None, :] * stride_tj
        inside = (hop < blocks)[:, None] & (column < blocks)[None, :]
        total += tl.sum(weight[:, None] * tl.load(at, mask=inside, other=0.0).to(tl.float64), 0)
    one_hop = tl.load(a + b * stride_ab + entry * stride_ae + column * stride_aj, mask=column < blocks, other=0.0)
    mixed = (one_hop.to(tl.float64) * (1 - damping) + total * damping) * (1 << BITS)
    # Halves to even, as torch.round has it: adding and taking away 2^52 + 2^51 leaves whole numbers.
    whole = (mixed + 6755399441055744.0) - 6755399441055744.0
    tl.store(step + own + column, whole / (1 << BITS), mask=column < blocks)
