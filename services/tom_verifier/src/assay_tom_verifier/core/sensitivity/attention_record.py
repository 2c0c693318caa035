"""Seeing queries and keys as attention gets them, rotated where the model rotates, of any transformers model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from assay.errors import Unimplemented

NAME = "assay_recorded"
Seen = Callable[[int, Tensor, Tensor, Tensor], None]
"""(layer, query [H, T, d], key [H, T, d], attention [H, T, T]), all float32; a key head of a group is repeated."""
# What changes attention besides scaling and mask, and is not computed here.
_UNKNOWN = ("softcap", "s_aux", "sinks")
_STATE = threading.local()


@contextmanager
def recording(model: PreTrainedModel, seen: Seen) -> Iterator[None]:
    """Calls `seen` for each layer of each pass of this thread over single texts (batch 1) within.

    The model's outputs stay what they are but for rounding. Raises Unimplemented for a model whose attention does not
    go through transformers' AttentionInterface.
    """
    before = model.config._attn_implementation
    AttentionInterface.register(NAME, _recorded)
    # Eager attention's mask is always spelt out, where others leave plain causality unsaid.
    AttentionMaskInterface.register(NAME, cast(Any, ALL_MASK_ATTENTION_FUNCTIONS)["eager"])
    model.set_attn_implementation(NAME)
    try:
        if model.config._attn_implementation != NAME:
            raise Unimplemented(f"model: the attention of {type(model).__name__} cannot be looked into")
        _STATE.seen = seen
        yield
    finally:
        _STATE.seen = None
        model.set_attn_implementation(before)


def _recorded(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> Any:
    """query [B, H, T, d], key [B, G, T, d]."""
    if any(options.get(name) is not None for name in _UNKNOWN):
        raise Unimplemented(f"model: the attention of {type(module).__name__} has terms that are not looked into")
    seen: Seen | None = getattr(_STATE, "seen", None)
    if seen is not None:
        queries, keys = query[0].float(), key[0].float()
        keys = keys.repeat_interleave(queries.shape[0] // keys.shape[0], dim=0)
        scores = queries @ keys.transpose(1, 2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if attention_mask is not None:
            scores = scores + attention_mask[0].float()
        seen(int(cast(Any, module).layer_idx), queries, keys, torch.softmax(scores, dim=-1))
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, scaling=scaling, **options)
