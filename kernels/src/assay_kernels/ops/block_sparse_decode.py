"""block_sparse_decode: attention of each row's newest token to the key blocks selected for it.

Flash-decoding: the list is cut into splits, each gives a partial output and its log-sum-exp, and the partial outputs
are merged with weights exp(lse_split - lse).
"""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.ops.block_sparse_prefill import LOG2E, attend_reference, attend_tile, key_base
from assay_kernels.packed import attend_packed
from assay_kernels.paging import Call, check_call
from assay_kernels.selection import BlockSelection
from assay_kernels.triton_import import tl, triton

# Tokens a split reads. Fixed, so that a row's result does not depend on how long the lists of other rows are.
SPLIT_TOKENS = 512
# Partial outputs merged at a time.
MERGE = 16


def block_sparse_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    starts: Tensor | None = None,
    scaling: float | None = None,
    block_table: Tensor | None = None,
    lengths: Tensor | None = None,
    return_lse: bool = False,
    check: bool = True,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(out, lse) as block_sparse_prefill gives them, for q [batch, query_heads, 1, head_dim].

    A row's result does not depend on the other rows: splits have a fixed length. Raises ValueError for several
    queries, and as block_sparse_prefill does.
    """
    if q.dim() != 4 or q.shape[2] != 1:
        raise ValueError(f"q: shape {tuple(q.shape)}; one query for each row, block_sparse_prefill takes several")
    chosen = choose(implementation, q)
    call = check_call(
        q, k, v, selection, starts=starts, scaling=scaling, block_table=block_table, lengths=lengths, check=check
    )
    if chosen == "reference":
        out, lse = attend_reference(call)
    elif chosen == "triton":
        out, lse = _launch(call)
    else:
        return _cpu(call, return_lse)
    return out, lse if return_lse else None


def _cpu(call: Call, return_lse: bool) -> tuple[Tensor, Tensor | None]:
    """Gathers each row's blocks and attends to them at once: there is nothing to split on one core."""
    batch, heads = call.q.shape[:2]
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, 1), -torch.inf, device=call.q.device) if return_lse else None
    counts = call.selection.counts.tolist()
    lists = call.selection.indices.to(torch.int64)
    shared = lists.shape[1]
    group = heads // max(shared, call.kv_heads)
    kv = heads // shared // group
    for b in range(batch):
        for head in range(shared):
            count = counts[b][head][0]
            if not count:
                continue
            queries = slice(head * kv * group, (head + 1) * kv * group)
            first_key = head * kv * group // call.group
            k, v = call.tokens(b, lists[b, head, 0, :count], slice(first_key, first_key + kv))
            q = call.q[b, queries].unflatten(0, (kv, group))
            o, e = attend_packed(q, k, v, call.scaling, exact=False, return_lse=return_lse)
            out[b, queries] = o.flatten(0, 1).to(out.dtype)
            if lse is not None and e is not None:
                lse[b, queries] = e.flatten(0, 1)
    return out, lse


def _launch(call: Call) -> tuple[Tensor, Tensor]:
    batch, heads, _, head_dim = call.q.shape
    indices, counts = call.selection.indices, call.selection.counts
    size = call.selection.block_size
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, 1), -torch.inf, device=call.q.device)
    if not batch or not call.selection.rows.entries:
        return out, lse
    shared = indices.shape[1]
    units = max(shared, call.kv_heads)
    group = heads // units
    per_split = max(1, SPLIT_TOKENS // size)
    splits = triton.cdiv(indices.shape[3], per_split)
    padded_dim = max(16, triton.next_power_of_2(head_dim))
    partial = torch.empty((batch, heads, splits, head_dim), dtype=torch.float32, device=call.q.device)
    partial_lse = torch.empty((batch, heads, splits), dtype=torch.float32, device=call.q.device)
    table = call.block_table
    _split_kernel[(splits, units, batch)](
        call.q, call.k, call.v, partial, partial_lse, indices, counts, call.selection.rows.first, call.lengths,
        call.q if table is None else table,
        call.q.stride(0), call.q.stride(1), call.q.stride(3), *call.k.stride(), *call.v.stride(),
        indices.stride(0), indices.stride(1), indices.stride(3), counts.stride(0), counts.stride(1),
        0 if table is None else table.stride(0), 0 if table is None else table.stride(1),
        call.scaling * LOG2E, call.k_len, call.k.shape[0], units // shared, call.group // group, splits, heads,
        GROUP=group, HEAD_DIM=head_dim, D=padded_dim, SIZE=size, N=min(size, 64), PER_SPLIT=per_split,
        M=max(16, triton.next_power_of_2(group)), PAGED=table is not None, num_warps=4, num_stages=3,
    )  # fmt: skip
    _merge_kernel[(heads, batch)](
        partial, partial_lse, out, lse, out.stride(0), out.stride(1), out.stride(3), splits, heads,
        HEAD_DIM=head_dim, D=padded_dim, MERGE=MERGE, num_warps=4,
    )  # fmt: skip
    return out, lse


@triton.jit
def _split_kernel(
    q, k, v, partial, partial_lse, indices, counts, first, lengths, table,
    stride_qb, stride_qh, stride_qd, stride_kb, stride_kh, stride_kt, stride_kd, stride_vb, stride_vh, stride_vt,
    stride_vd, stride_ib, stride_ih, stride_in, stride_cb, stride_ch, stride_tb, stride_tj,
    scale, k_len, pages, units_per_list, units_per_key, splits, heads,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, N: tl.constexpr,
    PER_SPLIT: tl.constexpr, M: tl.constexpr, PAGED: tl.constexpr,
):  # fmt: skip
    """The heads that share a key head, over PER_SPLIT blocks of the list; every token there is before the query."""
    split = tl.program_id(0)
    unit = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    length = tl.load(lengths + b)
    block = tl.load(first + b)
    which = unit // units_per_list
    count = tl.load(counts + b * stride_cb + which * stride_ch)
    row = tl.arange(0, M)
    head = unit * GROUP + row
    dims = tl.arange(0, D)
    inside = (row < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
    at = b * stride_qb + head[:, None] * stride_qh + dims[None, :] * stride_qd
    q_tile = tl.load(q + at, mask=inside, other=0.0)
    k_head = unit // units_per_key
    k += k_head * stride_kh
    v += k_head * stride_vh
    m = tl.full([M], float("-inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    acc = tl.zeros([M, D], tl.float32)
    chosen = indices + b * stride_ib + which * stride_ih
    keys = tl.arange(0, N)
    for n in range(split * PER_SPLIT, tl.minimum((split + 1) * PER_SPLIT, count)):
        j = tl.load(chosen + n * stride_in).to(tl.int64)
        j = tl.minimum(tl.maximum(j, 0), block)
        k_at = key_base(table, b, j, length, k_len, stride_tb, stride_tj, stride_kb, stride_kt, pages, SIZE, PAGED)
        v_at = key_base(table, b, j, length, k_len, stride_tb, stride_tj, stride_vb, stride_vt, pages, SIZE, PAGED)
        for sub in tl.static_range(SIZE // N):
            key = keys + sub * N
            # Only the row's last block can be incomplete; the mask costs nothing where memory is the bound.
            allowed = (j * SIZE + key < length)[None, :] & (row >= 0)[:, None]
            m, total, acc = attend_tile(
                q_tile, m, total, acc, k + k_at, v + v_at, stride_kt, stride_kd, stride_vt, stride_vd,
                key, allowed, scale, HEAD_DIM, D, True,
            )  # fmt: skip
    acc = acc / tl.where(total == 0, 1.0, total)[:, None]
    to = (b * heads + head) * splits + split
    tl.store(partial + to[:, None] * HEAD_DIM + dims[None, :], acc, mask=inside)
    found = tl.where(total == 0, float("-inf"), m + tl.log2(tl.where(total == 0, 1.0, total)))
    tl.store(partial_lse + to, found, mask=row < GROUP)


@triton.jit
def _merge_kernel(
    partial, partial_lse, out, lse, stride_ob, stride_oh, stride_od, splits, heads,
    HEAD_DIM: tl.constexpr, D: tl.constexpr, MERGE: tl.constexpr,
):  # fmt: skip
    """out = sum_s 2^(lse_s - lse) out_s with lse = log2 sum_s 2^lse_s, in order of the splits."""
    head = tl.program_id(0).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    dims = tl.arange(0, D)
    at = (b * heads + head) * splits
    m = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    acc = tl.zeros([1, D], tl.float32)
    for low in range(0, splits, MERGE):
        split = low + tl.arange(0, MERGE)
        found = tl.load(partial_lse + at + split, mask=split < splits, other=float("-inf"))
        inside = (split < splits)[:, None] & (dims < HEAD_DIM)[None, :]
        part = tl.load(partial + (at + split)[:, None] * HEAD_DIM + dims[None, :], mask=inside, other=0.0)
        new_m = tl.maximum(m, tl.max(found, 0))
        safe_m = tl.where(new_m == float("-inf"), 0.0, new_m)
        weight = tl.exp2(found - safe_m)
        shrink = tl.exp2(m - safe_m)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink[:, None] + tl.sum(part * weight[:, None], 0)[None, :]
        m = new_m
    some = tl.where(total == 0, 1.0, total)
    acc = acc / some[:, None]
    to = out + b * stride_ob + head * stride_oh + dims[None, :] * stride_od
    tl.store(to, acc.to(out.dtype.element_ty), mask=(dims < HEAD_DIM)[None, :])
    merged = tl.where(total == 0, float("-inf"), (m + tl.log2(some)) * 0.6931471805599453)
    tl.store(lse + b * heads + head + tl.arange(0, 1), merged)
