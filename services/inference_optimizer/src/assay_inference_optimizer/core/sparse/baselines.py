"""Scores that the walk is held against: exact attention mass, recency, chance. None of them has a state."""

from __future__ import annotations

import torch
from torch import Tensor

from assay_inference_optimizer.core.sparse.step import Step
from assay_kernels import QueryBlocks, query_blocks

_QUERIES_AT_ONCE = 64


def rows_of(step: Step, block_size: int) -> QueryBlocks:
    return query_blocks(
        step.queries,
        step.tokens,
        block_size,
        starts=step.starts,
        batch=step.query.shape[0],
        device=step.query.device,
    )


def block_count(step: Step, block_size: int) -> int:
    return -(-step.tokens // block_size)


def block_mass(step: Step, rows: QueryBlocks) -> Tensor:
    """Attention probability of full causal attention that falls on each key block, mean over the query block's queries
    at hand and over heads: what every estimate is after. float32 [B, entries, blocks]; rows sum to 1."""
    size = rows.block_size
    batch, heads, queries, _ = step.query.shape
    key_heads = step.key.shape[1]
    blocks = block_count(step, size)
    mass = step.query.new_zeros((batch, rows.entries, blocks), dtype=torch.float32)
    counts = mass.new_zeros((batch, rows.entries))
    for row in range(batch):
        start = 0 if step.starts is None else int(step.starts[row])
        length = step.tokens - start
        if length <= 0:
            continue
        key = step.key[row, :, start:].float()
        for low in range(max(0, length - queries), length, _QUERIES_AT_ONCE):
            positions = torch.arange(low, min(low + _QUERIES_AT_ONCE, length), device=key.device)
            part = step.query[row, :, queries - length + low : queries - length + low + len(positions)].float()
            packed = part.unflatten(0, (key_heads, heads // key_heads)).flatten(1, 2)
            logits = (packed @ key.transpose(1, 2) * step.scaling).unflatten(1, (heads // key_heads, len(positions)))
            later = torch.arange(length, device=key.device) > positions[:, None]
            weights = torch.softmax(logits.masked_fill(later, -torch.inf), dim=-1).mean((0, 1))  # [n, length]
            padded = torch.nn.functional.pad(weights, (0, blocks * size - length))
            by_block = padded.unflatten(1, (blocks, size)).sum(2)
            entry = positions // size - rows.first[row]
            mass[row].index_add_(0, entry, by_block)
            counts[row].index_add_(0, entry, torch.ones_like(entry, dtype=torch.float32))
    return mass / counts.clamp(min=1)[..., None]


def recency(step: Step, rows: QueryBlocks) -> Tensor:
    """Higher for later blocks, so that a budget goes to the window before the query block. [B, entries, blocks]."""
    blocks = block_count(step, rows.block_size)
    order = torch.arange(blocks, dtype=torch.float32, device=step.query.device)
    return order.expand(step.query.shape[0], rows.entries, blocks)


def chance(step: Step, rows: QueryBlocks, seed: int) -> Tensor:
    """Uniform in [0, 1), a function of seed, query block and key block alone. [B, entries, blocks]."""
    blocks = block_count(step, rows.block_size)
    key_block = torch.arange(blocks, device=step.query.device)
    mixed = _mixed(_mixed(rows.ids() + 1 + (seed << 20))[..., None] ^ key_block)
    return (mixed & 0xFFFFFF).to(torch.float32) / 2**24


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit integers that leaves no pattern (Chris Wellons's `lowbias32`), on int64 tensors."""
    x = x & 0xFFFFFFFF
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)
