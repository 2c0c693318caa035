"""Attention of a few query rows to gathered keys on a CPU, by two matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

# Keys that one product adds up in float32, for lists of up to MANY_KEYS and for longer ones, where errors even out.
# Longer sums err more than those of scaled_dot_product_attention, shorter ones take longer.
PIECE, LONG_PIECE = 128, 256
MANY_KEYS = 1024
# Up to so many keys everything is done in float64: it costs little there, and an error stands out most.
FEW_KEYS = 128


def attend_packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float,
    *,
    hidden: Tensor | None = None,
    exact: bool = True,
    return_lse: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(out, lse) in float32, [heads, group, queries, head_dim] and [heads, group, queries] or None.

    q: [heads, group, queries, head_dim]; k, v: [heads, tokens, head_dim], what the `group` query heads of a key head
    share. hidden: float32 [queries, n], -inf where a query does not see one of the last n tokens and 0 where it does;
    every query sees one at least.
    exact: err no more than scaled_dot_product_attention by splitting sums; else all keys are added up at once.
    """
    heads, group, queries, head_dim = q.shape
    out = torch.empty(q.shape, dtype=torch.float32, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device) if return_lse else None
    # A lone query of a block as well: products of one row are the most exact ones of scaled_dot_product_attention.
    tokens = k.shape[1]
    wide = exact and (tokens <= FEW_KEYS or queries == 1)
    kind = torch.float64 if wide else torch.float32
    piece = max(1, tokens) if wide or not exact else PIECE if tokens <= MANY_KEYS else LONG_PIECE
    for head in range(heads):
        rows = (q[head].to(kind) * scaling).reshape(group * queries, head_dim)
        logits = _product(rows, k[head].to(kind))
        if hidden is not None:
            own = logits.view(group, queries, -1)[:, :, logits.shape[1] - hidden.shape[1] :]
            own += hidden  # masked_fill_ takes four times as long
        weights = torch.softmax(logits, dim=-1)
        if lse is not None:
            # The largest weight is exp(largest logit - lse).
            lse[head] = (logits.amax(-1) - weights.amax(-1).log()).view(group, queries)
        values = v[head].to(kind)
        total = _split_product(weights, values, piece) if piece < tokens else _product(weights, values.t())
        out[head] = total.view(group, queries, head_dim)
    return out, lse


def _split_product(weights: Tensor, values: Tensor, piece: int) -> Tensor:
    """weights values, `piece` keys at a time. In place: oneDNN would copy each part of the weights, and has more to do
    before each of its products than these short ones take."""
    total = torch.mm(weights[:, :piece], values[:piece])
    for low in range(piece, len(values), piece):
        total.addmm_(weights[:, low : low + piece], values[low : low + piece])
    return total


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b^T. By oneDNN where PyTorch has it: compiled for the processor at hand, its float32 product is up to twice as
    fast as the one behind torch.mm, which serves one maker's processors."""
    if _ONEDNN and a.device.type == "cpu" and a.dtype == torch.float32:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return product
    return torch.mm(a, b.t())


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
