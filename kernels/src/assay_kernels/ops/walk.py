"""walk: sparsity that accumulates over hops and layers.

S <- (1 - b) A + b S A, `degree` times, from the state that the layer before left (arXiv:2602.07397). Written out for
degree 3: R = (1 - b)(A + b A^2 + b^2 A^3) + b^3 S_0 A^3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.exact import GRID_BITS, round_to_grid


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

    Three matrix products at the usual degree, so cuBLAS is the kernel on a GPU. But for the reference, weights are
    kept on a grid on which float64 products add up exactly: a row is the same to the last bit whether it is computed
    alone or with all others. Raises ValueError for shapes and parameters that do not fit.
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
    if choose(implementation, one_hop) == "reference":
        return _reference(one_hop, transitions, state, damping, degree)
    return _exact(one_hop, transitions, state, damping, degree)


def _reference(a: Tensor, transitions: Tensor, state: Tensor | None, damping: float, degree: int) -> Tensor:
    s = a if state is None or degree == 0 else state
    for _ in range(degree):
        s = (1 - damping) * a + damping * s @ transitions
    return s


def _exact(a: Tensor, transitions: Tensor, state: Tensor | None, damping: float, degree: int) -> Tensor:
    if degree == 0:
        return a.clone()
    a, transitions = round_to_grid(a.double(), GRID_BITS), round_to_grid(transitions.double(), GRID_BITS)
    s = a if state is None else round_to_grid(state.double(), GRID_BITS)
    for _ in range(degree):
        s = round_to_grid((1 - damping) * a + damping * (s @ transitions), GRID_BITS)
    return s.to(torch.float32)
