"""What tests of the kernels share: random inputs, exact attention, and one attention layer that is fed in chunks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import assay_kernels as kernels


def random_heads(
    length: int,
    *,
    batch: int = 1,
    query_heads: int = 8,
    kv_heads: int = 2,
    head_dim: int = 32,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of one length."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, length, head_dim) for heads in (query_heads, kv_heads, kv_heads)]
    q, k, v = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return q, k, v


def pair_mask(selection: kernels.BlockSelection, q_len: int, k_len: int, starts: list[int]) -> Tensor:
    """bool [batch, heads of the selection, q_len, k_len]: the pairs it allows, one by one, in columns of k."""
    batch, heads = selection.indices.shape[:2]
    size = selection.block_size
    mask = torch.zeros((batch, heads, q_len, k_len), dtype=torch.bool)
    for b in range(batch):
        for h in range(heads):
            for query in range(q_len):
                position = k_len - q_len + query - starts[b]
                if position < 0:
                    continue
                entry = position // size - int(selection.rows.first[b])
                blocks = selection.indices[b, h, entry, : int(selection.counts[b, h, entry])].tolist()
                for block in blocks:
                    low = starts[b] + block * size
                    mask[b, h, query, low : min(low + size, starts[b] + position + 1)] = True
    return mask


def attention_float64(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(out, lse) of masked attention in float64; 0 and -inf for queries that see nothing."""
    heads, kv_heads = q.shape[1], k.shape[1]
    k, v = (x.double().repeat_interleave(heads // kv_heads, 1) for x in (k, v))
    mask = mask.repeat_interleave(heads // mask.shape[1], 1)
    logits = (q.double() @ k.transpose(2, 3) / q.shape[3] ** 0.5).masked_fill(~mask, -torch.inf)
    weights = torch.softmax(logits, -1).nan_to_num(0)
    return weights @ v, torch.logsumexp(logits, -1)


def row_errors(out: Tensor, exact: Tensor) -> Tensor:
    """Euclidean distance, one for each query of each head."""
    return (out.double() - exact).norm(dim=-1)


Lists = list[list[tuple[int, list[int]]]]


@dataclass
class Layer:
    """One layer of Sketch&Walk attention that is fed in chunks, as a cache would keep it."""

    sketch: kernels.FeatureSketch
    block_size: int = 64
    density: float = 0.3
    implementation: kernels.Implementation | None = None

    def __post_init__(self) -> None:
        self.keys: Tensor | None = None
        self.transitions: Tensor | None = None
        self.key_open: Tensor | None = None
        self.query_open: Tensor | None = None

    def feed(self, q: Tensor, k: Tensor, v: Tensor, q_len: int, starts: Tensor | None = None) -> tuple[Tensor, Lists]:
        """Attention of the last q_len tokens of q, k, v; returns (out, lists of key blocks)."""
        how = {"implementation": self.implementation}
        k_len, size = k.shape[2], self.block_size
        pool = {"block_size": size, "k_len": k_len, "starts": starts, **how}
        queries = kernels.sketch_pool(q[:, :, k_len - q_len :], self.sketch, open_sum=self.query_open, **pool)
        keys = kernels.sketch_pool(k[:, :, k_len - q_len :], self.sketch, open_sum=self.key_open, **pool)
        self.query_open, self.key_open = queries.open_sum, keys.open_sum
        self.keys = kernels.extend_blocks(self.keys, keys)
        rows, scaling = queries.rows, q.shape[3] ** -0.5
        one_hop = kernels.block_score(queries.sketches, self.keys, rows, scaling=scaling, **how)
        self.transitions = self._grown(one_hop, rows)
        walked = kernels.walk(one_hop, self.transitions, damping=0.25, degree=3, **how)
        chosen = kernels.select_blocks(walked, rows, density=self.density, **how)
        out, _ = kernels.block_sparse_prefill(q[:, :, k_len - q_len :], k, v, chosen, starts=starts, **how)
        return out, as_rows(chosen)

    def _grown(self, one_hop: Tensor, rows: kernels.QueryBlocks) -> Tensor:
        batch, _, blocks = one_hop.shape
        grown = one_hop.new_zeros((batch, blocks, blocks))
        if self.transitions is not None:
            kept = self.transitions.shape[1]
            grown[:, :kept, :kept] = self.transitions
        for b, ids in enumerate(rows.ids().tolist()):
            for entry, block in enumerate(ids):
                if block >= 0:
                    grown[b, block] = one_hop[b, entry]
        return grown


def as_rows(selection: kernels.BlockSelection) -> Lists:
    """For each row of the batch: (query block, its key blocks), head 0, empty entries left out."""
    rows = []
    for b, ids in enumerate(selection.rows.ids().tolist()):
        lists = [
            (block, selection.indices[b, 0, entry, : int(selection.counts[b, 0, entry])].tolist())
            for entry, block in enumerate(ids)
            if block >= 0
        ]
        rows.append(lists)
    return rows


def as_pages(k: Tensor, v: Tensor, starts: list[int], size: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """k and v cut into pages [pages, kv_heads, size, head_dim] in random order, with NaN where no token is, and the
    block table; a NaN that is read shows in the output."""
    batch, kv_heads, k_len, head_dim = k.shape
    blocks = -(-k_len // size)
    order = torch.randperm(batch * blocks, generator=torch.Generator().manual_seed(seed)).view(batch, blocks)
    pages = [torch.full((batch * blocks, kv_heads, size, head_dim), torch.nan, dtype=k.dtype) for _ in range(2)]
    for b in range(batch):
        for block in range(blocks):
            low = starts[b] + block * size
            for page, x in zip(pages, (k, v), strict=True):
                tokens = x[b, :, low : low + size]
                page[order[b, block], :, : tokens.shape[1]] = tokens
    return pages[0], pages[1], order.to(torch.int32)
