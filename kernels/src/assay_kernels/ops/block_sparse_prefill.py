"""block_sparse_prefill: causal attention of many queries to the key blocks selected for their query block.

out_p = sum_t softmax_t(scaling <q_p, k_t>) v_t over the tokens t <= p of the blocks selected for p's query block.
"""

# Triton's kernels carry Triton's annotations, which are not types, and name compile-time arguments in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from assay_kernels.dispatch import Implementation, choose
from assay_kernels.packed import attend_packed
from assay_kernels.paging import Call, check_call
from assay_kernels.selection import BlockSelection
from assay_kernels.triton_import import tl, triton

LOG2E = 1.4426950408889634


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
    return_lse: bool = False,
    check: bool = True,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(out, lse): out like q; lse float32 [batch, query_heads, q_len], natural log of the sum of exponentials, where
    `return_lse` asks for it and None elsewhere.

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
        out, lse = attend_reference(call)
    elif chosen == "triton":
        out, lse = _launch(call)
    else:
        return _cpu(call, return_lse)
    return out, lse if return_lse else None


def attend_reference(call: Call) -> tuple[Tensor, Tensor]:
    """The formula, row by row and head by head, with the mask of selected pairs written out; in float32."""
    batch, heads, q_len, _ = call.q.shape
    size, rows = call.selection.block_size, call.selection.rows
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, q_len), -torch.inf, device=call.q.device)
    for b in range(batch):
        length = int(call.lengths[b])
        if not length:
            continue
        every = torch.arange(-(-length // size), device=call.q.device)
        k, v = (x.float() for x in call.tokens(b, every, slice(None)))
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


def _cpu(call: Call, return_lse: bool) -> tuple[Tensor, Tensor | None]:
    """A query block at a time: its key blocks gathered, the queries that share a key head packed as rows."""
    batch, heads, q_len, _ = call.q.shape
    size, rows = call.selection.block_size, call.selection.rows
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, q_len), -torch.inf, device=call.q.device) if return_lse else None
    counts, firsts, lengths = call.selection.counts.tolist(), rows.first.tolist(), call.lengths.tolist()
    lists = call.selection.indices.to(torch.int64)
    shared = call.selection.indices.shape[1]
    # A head of the selection serves `group` query heads on each of `kv` key heads.
    group = heads // max(shared, call.kv_heads)
    kv = heads // shared // group
    later = torch.full((size, size), -torch.inf, device=call.q.device).triu(1)
    for b in range(batch):
        for head in range(shared):
            queries = slice(head * kv * group, (head + 1) * kv * group)
            first_key = head * kv * group // call.group
            keys = slice(first_key, first_key + kv)
            for entry in range(rows.entries):
                count = counts[b][head][entry]
                block = firsts[b] + entry
                low = max(block * size, lengths[b] - q_len)
                high = min((block + 1) * size, lengths[b])
                if not count or low >= high:
                    continue
                blocks = lists[b, head, entry, :count]
                k, v = call.tokens(b, blocks, keys)
                part = slice(low - lengths[b] + q_len, high - lengths[b] + q_len)
                hidden = None
                if int(blocks[-1]) == block:
                    hidden = later[low - block * size : high - block * size, : min(size, lengths[b] - block * size)]
                q = call.q[b, queries, part].unflatten(0, (kv, group))
                o, e = attend_packed(q, k, v, call.scaling, hidden=hidden, return_lse=return_lse)
                out[b, queries, part] = o.flatten(0, 1).to(out.dtype)
                if lse is not None and e is not None:
                    lse[b, queries, part] = e.flatten(0, 1)
    return out, lse


def _launch(call: Call) -> tuple[Tensor, Tensor]:
    batch, heads, q_len, head_dim = call.q.shape
    size, rows = call.selection.block_size, call.selection.rows
    out = torch.zeros_like(call.q)
    lse = torch.full((batch, heads, q_len), -torch.inf, device=call.q.device)
    shared = call.selection.indices.shape[1]
    units = max(shared, call.kv_heads)
    group = heads // units
    # A float32 product is made of three of the tensor cores' (its accuracy, unlike their single tf32): smaller tiles.
    triple = call.q.dtype == torch.float32
    tile_m = min(64 if triple else 128, max(16, triton.next_power_of_2(group * size)))
    tiles = triton.cdiv(group * size, tile_m)
    if not batch or not rows.entries:
        return out, lse
    table = call.block_table
    wide = head_dim > 64
    # Longest rows first: the last query blocks have the most to do.
    _prefill_kernel[(rows.entries * tiles, units, batch)](
        call.q, call.k, call.v, out, lse,
        call.selection.indices, call.selection.counts, rows.first, call.lengths,
        call.q if table is None else table,
        *call.q.stride(), *call.k.stride(), *call.v.stride(), *out.stride(), lse.stride(0), lse.stride(1),
        *call.selection.indices.stride(), *call.selection.counts.stride(), 0 if table is None else table.stride(0),
        0 if table is None else table.stride(1),
        call.scaling * LOG2E, q_len, call.k_len, rows.entries, call.k.shape[0], units // shared,
        call.group // group,
        GROUP=group, HEAD_DIM=head_dim, D=max(16, triton.next_power_of_2(head_dim)), SIZE=size,
        N=min(size, 32 if triple else 64), M=tile_m, TILES=tiles, PAGED=table is not None,
        num_warps=8 if wide and tile_m > 32 else 4, num_stages=2,
    )  # fmt: skip
    return out, lse


@triton.jit
def key_base(
    table,
    b,
    block,
    length,
    k_len,
    stride_tb,
    stride_tj,
    stride_b,
    stride_t,
    pages,
    SIZE: tl.constexpr,
    PAGED: tl.constexpr,
):
    """Offset of the first token of a row's block, for key head 0."""
    if PAGED:
        page = tl.load(table + b * stride_tb + block * stride_tj).to(tl.int64)
        return tl.minimum(tl.maximum(page, 0), pages - 1) * stride_b
    return b * stride_b + (k_len - length + block * SIZE) * stride_t


@triton.jit
def attend_tile(
    q,
    m,
    total,
    acc,
    k,
    v,
    stride_kt,
    stride_kd,
    stride_vt,
    stride_vd,
    keys,
    allowed,
    scale,
    HEAD_DIM: tl.constexpr,
    D: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One step of the online softmax in base 2 over a tile of keys; `allowed` [M, N] is read where MASKED."""
    dims = tl.arange(0, D)
    k_mask, v_mask = dims[:, None] < HEAD_DIM, dims[None, :] < HEAD_DIM
    if MASKED:
        exists = tl.max(allowed.to(tl.int32), 0) > 0
        k_mask, v_mask = k_mask & exists[None, :], v_mask & exists[:, None]
    k_tile = tl.load(k + keys[None, :] * stride_kt + dims[:, None] * stride_kd, mask=k_mask, other=0.0)
    logits = tl.dot(q, k_tile, input_precision="tf32x3") * scale
    if MASKED:
        logits = tl.where(allowed, logits, float("-inf"))
    new_m = tl.maximum(m, tl.max(logits, 1))
    safe_m = tl.where(new_m == float("-inf"), 0.0, new_m)
    weights = tl.exp2(logits - safe_m[:, None])
    shrink = tl.exp2(m - safe_m)
    total = total * shrink + tl.sum(weights, 1)
    v_tile = tl.load(v + keys[:, None] * stride_vt + dims[None, :] * stride_vd, mask=v_mask, other=0.0)
    acc = acc * shrink[:, None] + tl.dot(weights.to(v_tile.dtype), v_tile, input_precision="tf32x3")
    return new_m, total, acc


@triton.jit
def _prefill_kernel(
    q, k, v, out, lse, indices, counts, first, lengths, table,
    stride_qb, stride_qh, stride_qt, stride_qd, stride_kb, stride_kh, stride_kt, stride_kd,
    stride_vb, stride_vh, stride_vt, stride_vd, stride_ob, stride_oh, stride_ot, stride_od, stride_lb, stride_lh,
    stride_ib, stride_ih, stride_ie, stride_in, stride_cb, stride_ch, stride_ce, stride_tb, stride_tj,
    scale, q_len, k_len, entries, pages, units_per_list, units_per_key,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, N: tl.constexpr,
    M: tl.constexpr, TILES: tl.constexpr, PAGED: tl.constexpr,
):  # fmt: skip
    """A tile of M rows: queries of one block, times the heads that share a key head, over one list of key blocks."""
    place = tl.program_id(0)
    entry = (entries - 1 - place // TILES).to(tl.int64)
    unit = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    length = tl.load(lengths + b)
    block = tl.load(first + b) + entry
    which = unit // units_per_list
    count = tl.load(counts + b * stride_cb + which * stride_ch + entry * stride_ce)
    if (count == 0) | (block * SIZE >= length):
        return
    row = (place % TILES) * M + tl.arange(0, M)
    offset = row % SIZE
    position = block * SIZE + offset
    query = position - (length - q_len)
    head = unit * GROUP + row // SIZE
    real = (row < GROUP * SIZE) & (query >= 0) & (query < q_len)
    dims = tl.arange(0, D)
    inside = real[:, None] & (dims < HEAD_DIM)[None, :]
    at = head * stride_qh + query * stride_qt
    q_tile = tl.load(q + b * stride_qb + at[:, None] + dims[None, :] * stride_qd, mask=inside, other=0.0)
    k_head = unit // units_per_key
    k += k_head * stride_kh
    v += k_head * stride_vh
    m = tl.full([M], float("-inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    acc = tl.zeros([M, D], tl.float32)
    chosen = indices + b * stride_ib + which * stride_ih + entry * stride_ie
    itself = tl.load(chosen + (count - 1) * stride_in) == block
    keys = tl.arange(0, N)
    nothing = keys[None, :] < 0
    # Blocks before the query block are whole, so they need no mask. Ids are held within them: a wrong list gives a
    # wrong answer, but reads no other row.
    for n in range(tl.minimum(count - itself.to(tl.int32), block.to(tl.int32))):
        j = tl.load(chosen + n * stride_in).to(tl.int64)
        j = tl.minimum(tl.maximum(j, 0), block - 1)
        k_at = key_base(table, b, j, length, k_len, stride_tb, stride_tj, stride_kb, stride_kt, pages, SIZE, PAGED)
        v_at = key_base(table, b, j, length, k_len, stride_tb, stride_tj, stride_vb, stride_vt, pages, SIZE, PAGED)
        for sub in tl.static_range(SIZE // N):
            m, total, acc = attend_tile(
                q_tile, m, total, acc, k + k_at, v + v_at, stride_kt, stride_kd, stride_vt, stride_vd,
                keys + sub * N, nothing, scale, HEAD_DIM, D, False,
            )  # fmt: skip
    if itself:
        k_at = key_base(table, b, block, length, k_len, stride_tb, stride_tj, stride_kb, stride_kt, pages, SIZE, PAGED)
        v_at = key_base(table, b, block, length, k_len, stride_tb, stride_tj, stride_vb, stride_vt, pages, SIZE, PAGED)
        for sub in tl.static_range(SIZE // N):
            key = keys + sub * N
            allowed = (key[None, :] <= offset[:, None]) & (block * SIZE + key < length)[None, :]
            m, total, acc = attend_tile(
                q_tile, m, total, acc, k + k_at, v + v_at, stride_kt, stride_kd, stride_vt, stride_vd,
                key, allowed, scale, HEAD_DIM, D, True,
            )  # fmt: skip
    acc = acc / total[:, None]
    at = head * stride_oh + query * stride_ot
    tl.store(out + b * stride_ob + at[:, None] + dims[None, :] * stride_od, acc.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + b * stride_lb + head * stride_lh + query, (m + tl.log2(total)) * 0.6931471805599453, mask=real)
