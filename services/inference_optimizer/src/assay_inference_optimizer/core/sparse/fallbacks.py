"""Which layers of a model run dense under sparse attention, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from transformers.cache_utils import get_layer_types_and_kwargs


class Dense(StrEnum):
    """Why a layer is dense."""

    CONFIGURED = "configured"
    SLIDING_WINDOW = "sliding_window"
    STATE_SPACE = "state_space"
    LATENT_ATTENTION = "latent_attention"
    SOFTCAP = "softcap"
    ATTENTION_SINK = "attention_sink"
    OWN_SPARSITY = "own_sparsity"
    NO_ATTENTION = "no_attention"
    OTHER = "other"


@dataclass(frozen=True)
class Fallback:
    """One layer that sparse attention leaves as it is. why: for machines; detail: for people."""

    layer: int
    why: Dense
    detail: str


_TYPES = {
    "sliding_attention": (Dense.SLIDING_WINDOW, "attends to a sliding window only"),
    "chunked_attention": (Dense.SLIDING_WINDOW, "attends within fixed chunks only"),
    "indexed_attention": (Dense.OWN_SPARSITY, "chooses its own keys"),
    "heavily_compressed_attention": (Dense.OWN_SPARSITY, "compresses its own keys"),
    "compressed_sparse_attention": (Dense.OWN_SPARSITY, "compresses and chooses its own keys"),
    "reference_sliding_attention": (Dense.SLIDING_WINDOW, "attends to a sliding window only"),
    "linear_attention": (Dense.STATE_SPACE, "keeps a recurrent state, no keys"),
    "conv": (Dense.STATE_SPACE, "keeps a convolution's state, no keys"),
    "mamba": (Dense.STATE_SPACE, "keeps a recurrent state, no keys"),
    "hybrid": (Dense.STATE_SPACE, "runs attention beside a recurrent state"),
    "hybrid_sliding": (Dense.STATE_SPACE, "runs sliding-window attention beside a recurrent state"),
    "dummy": (Dense.NO_ATTENTION, "has no keys of its own"),
}


def layer_types(text_config: Any) -> list[str]:
    """transformers' name of each layer's cache."""
    types, _ = get_layer_types_and_kwargs(text_config)
    return list(types)


def unsuited(text_config: Any) -> dict[int, Fallback]:
    """Layers that cannot run sparse, as far as the config says; what only a pass shows is added by the cache."""
    found: dict[int, Fallback] = {}
    for layer, kind in enumerate(layer_types(text_config)):
        reason = _TYPES.get(kind)
        if kind not in _TYPES and kind != "full_attention":
            reason = (Dense.OTHER, f"is of type {kind}, which is not known here")
        elif kind == "full_attention":
            reason = _attention_reason(text_config)
        if reason is not None:
            found[layer] = Fallback(layer, *reason)
    return found


def _attention_reason(text_config: Any) -> tuple[Dense, str] | None:
    if getattr(text_config, "kv_lora_rank", None):
        return Dense.LATENT_ATTENTION, "caches a compressed latent in place of keys"
    if getattr(text_config, "attn_logit_softcapping", None):
        return Dense.SOFTCAP, "caps its attention logits"
    if not getattr(text_config, "is_causal", True):
        return Dense.OTHER, "attends to later tokens too"
    return None
