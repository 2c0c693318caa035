"""block_sparse_prefill: causal attention of many queries to the key blocks selected for their query block.

out_p = sum_t softmax_t(scaling <q_p, k_t>) v_t over the tokens t <= p of the blocks selected for p's query block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.paging import Call, check_call
from assay_kernels.selection import BlockSelection


def block_sparse_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    starts: Tensor | None = None,
    scaling: float | None = None,
    block_table: Tensor | None = None,
    lengths: Tensor | None = None,
    check: bool = True,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor]:
    """(out, lse): out like q; lse float32 [batch, query_heads, q_len], natural log of the sum of exponentials.

    Padding queries, and those whose query block selects nothing, get out 0 and lse -inf. scaling: 1/sqrt(head_dim)
    unless given. Paged keys: k, v [pages, kv_heads, block_size, head_dim], block_table integers [batch, blocks] with
    the page of each of the row's blocks, lengths integers [batch] with the row's tokens; no starts then.

    check=False leaves out the reading of block ids, for which a GPU has to be waited for: for selections that
    select_blocks made for these very rows. The Triton kernel passes over ids outside the row either way.
    Raises ValueError naming what does not fit. Non-finite input is the caller's.
    """
    chosen = choose(implementation, q)
    call = check_call(
        q, k, v, selection, starts=starts, scaling=scaling, block_table=block_table, lengths=lengths, check=check
    )
    if chosen == "reference":
        return attend_reference(call)
    return _cpu(call)


def attend_reference(call: Call) -> tuple[Tensor, Tensor]:
    """The formula, row by row and head by head, with the mask of selected pairs written out; in float32."""
    batch, heads, q_len, _ = call.q.shape
    size, rows = call.selection.block_size, call.selection.rows
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, q_len), -torch.inf, device=call.q.device)
    for b in range(batch):
        length = int(call.lengths[b])
        pieces = [call.block(b, block) for block in range(-(-length // size))]
        if not pieces:
            continue
        k, v = (torch.cat(part, dim=1).float() for part in zip(*pieces, strict=True))
        token = torch.arange(length, device=call.q.device)
        pad = max(0, q_len - length)
        position = torch.arange(length - q_len + pad, length, device=call.q.device)
        for head in range(heads):
            shared = call.selection.indices.shape[1]
            mask = torch.zeros((len(position), length), dtype=torch.bool, device=call.q.device)
            for entry in range(rows.entries):
                count = int(call.selection.counts[b, head * shared // heads, entry])
                chosen = call.selection.indices[b, head * shared // heads, entry, :count]
                mine = position // size == rows.first[b] + entry
                mask |= mine[:, None] & torch.isin(token // size, chosen.long())
            mask &= token <= position[:, None]
            logits = call.q[b, head, pad:].float() @ k[head // call.group].T * call.scaling
            logits = logits.masked_fill(~mask, -torch.inf)
            lse[b, head, pad:] = torch.logsumexp(logits, dim=-1)
            weights = torch.softmax(logits, dim=-1).masked_fill(~mask, 0)
            out[b, head, pad:] = (weights @ v[head // call.group]).to(out.dtype)
    return out, lse


def _cpu(call: Call) -> tuple[Tensor, Tensor]:
    return attend_reference(call)
