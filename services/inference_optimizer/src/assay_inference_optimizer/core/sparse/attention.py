"""The attention function transformers calls: sparse for layers of a sparse cache, the model's own otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache as remembered
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.sparse import active
from assay_inference_optimizer.core.sparse.fallbacks import Dense

Attention = Callable[..., tuple[Tensor, Tensor | None]]


@remembered
def attention_over(own: str) -> Attention:
    """The function for models whose own implementation is `own`, one of transformers' names."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """query: [B, Hq, Q, D]; key, value: [B, Hkv, T, D]. Returns ([B, Q, Hq, D], None)."""
        cache: Any = active.active()
        index = getattr(module, "layer_idx", None)
        if cache is None or index is None or not cache.is_sparse(index):
            return _own(module, own)(module, query, key, value, attention_mask, **options)
        reason = _unsuited_call(options, cache.keys_of(index), key, value)
        if reason is not None:
            cache.fall_back(index, *reason)
            return _own(module, own)(module, query, key, value, attention_mask, **options)
        if torch.is_grad_enabled() and query.requires_grad:
            raise FailedPrecondition(
                "sparse attention has no backward pass; run the model under torch.no_grad()", reason="NO_BACKWARD"
            )
        scaling = options.get("scaling")
        output = cache.attend(index, query, query.shape[-1] ** -0.5 if scaling is None else scaling)
        return output.transpose(1, 2).contiguous(), None

    return attention


def _own(module: nn.Module, own: str) -> Attention:
    if own == "eager":
        eager: Attention = sys.modules[type(module).__module__].eager_attention_forward
        return eager
    function: Attention = ALL_ATTENTION_FUNCTIONS[own]
    return function


def _unsuited_call(options: dict[str, Any], cached: Any, key: Tensor, value: Tensor) -> tuple[Dense, str] | None:
    """What only the call itself shows: arguments that change the scores, or keys that are not those of the cache."""
    if options.get("s_aux") is not None:
        return Dense.ATTENTION_SINK, "has learned attention sinks"
    if options.get("softcap") is not None:
        return Dense.SOFTCAP, "caps its attention logits"
    if options.get("sliding_window") is not None:
        return Dense.SLIDING_WINDOW, "attends to a sliding window only"
    if options.get("position_bias") is not None:
        return Dense.OTHER, "adds a bias to its attention logits"
    if options.get("is_causal") is False:
        return Dense.OTHER, "attends to later tokens too"
    if key is not cached or key.shape[-1] != value.shape[-1]:
        return Dense.OTHER, "attends to other keys than it caches"
    return None
