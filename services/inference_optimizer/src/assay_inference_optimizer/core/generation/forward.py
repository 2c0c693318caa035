"""One forward pass that goes on from a cache, whatever the model's family calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from assay_inference_optimizer.core.generation.joint_cache import JointCache
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.joint_cache import JointSparseCache

PREFILL_TOKENS = 512  # read at once, of one prompt or of several


def read_tokens(model: PreTrainedModel, past: Cache, tokens: Sequence[int], read: int) -> Tensor:
    """Logits [V] of the last of `tokens`, float32 on the CPU; `past` then holds them all.

    read: tokens that `past` holds already.
    """
    positions = torch.arange(read, read + len(tokens))[None]
    return _forward(model, past, torch.tensor([list(tokens)]), positions, None)[0, -1]


def read_all(model: PreTrainedModel, past: Cache, tokens: Sequence[int], read: int) -> Tensor:
    """Logits [T, V] of every one of `tokens`, float32 on the CPU; `past` then holds them all.

    read: tokens that `past` holds already.
    """
    positions = torch.arange(read, read + len(tokens))[None]
    return _forward(model, past, torch.tensor([list(tokens)]), positions, None, keep=0)[0]


def piece_tokens(read: int, sparse: SparseConfig | None) -> int:
    """Tokens to read at once after `read`: pieces end with blocks, so that they choose what the whole would."""
    size = PREFILL_TOKENS if sparse is None else max(PREFILL_TOKENS, sparse.block_size)
    return size - read % size


def step_together(model: PreTrainedModel, rows: Sequence[Cache], tokens: Sequence[int]) -> Tensor:
    """Logits [B, V] of one more token for each of `rows`, which then hold it; float32 on the CPU.

    rows: all dense, or all sparse with the same settings.
    """
    sparse = [row for row in rows if isinstance(row, SparseCache)]
    joint = JointSparseCache(sparse) if sparse else JointCache(rows)
    return _forward(model, joint, torch.tensor(tokens)[:, None], joint.position_ids(), joint.attention_mask())[:, -1]


def _forward(
    model: PreTrainedModel, past: Cache, ids: Tensor, positions: Tensor, mask: Tensor | None, *, keep: int = 1
) -> Tensor:
    """Logits [B, P, V] of the last `keep` positions, of all for 0."""
    taken = _parameters(type(model).forward)
    options: dict[str, Any] = {"past_key_values" if "past_key_values" in taken else "cache_params": past}
    if "position_ids" in taken:
        options["position_ids"] = positions.to(model.device)
    if mask is not None:
        options["attention_mask"] = mask.to(model.device)
    output = model(input_ids=ids.to(model.device), use_cache=True, logits_to_keep=keep, **options)
    return output.logits.float().cpu()  # type: ignore[no-any-return]


@cache
def _parameters(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)
