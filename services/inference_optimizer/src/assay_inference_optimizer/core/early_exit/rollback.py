"""Taking tokens back out of a cache, layer by layer, recurrent layers included.

transformers' `crop` leaves a recurrent state as it is: it holds all tokens in one tensor, and none can be taken out.
Such layers are copied beforehand instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from assay.errors import FailedPrecondition

States = dict[int, Tensor | None]


@dataclass(frozen=True)
class Mark:
    """What some layers of a cache held. recurrent: copies of convolution and recurrent states, None for others."""

    first: int
    lengths: tuple[int, ...]
    recurrent: tuple[tuple[States, States, dict[int, bool]] | None, ...]


def check_rollback(cache: Cache) -> None:
    """FailedPrecondition for a cache with layers that cannot forget their last tokens."""
    for index, layer in enumerate(cache.layers):
        recurrent, attends = (isinstance(layer, kind) for kind in (LinearAttentionCacheLayerMixin, CacheLayerMixin))
        if recurrent == attends or (attends and not layer.is_croppable):
            raise FailedPrecondition(
                f"cache: layer {index} is a {type(layer).__name__}, which cannot take tokens back; use a DynamicCache",
                reason="CACHE_NOT_CROPPABLE",
            )


def mark(cache: Cache, first: int, last: int) -> Mark:
    """Remembers layers first + 1 to last. Costs nothing for attention, a copy of the state for recurrent layers."""
    layers = cache.layers[first:last]
    return Mark(first, tuple(_length(layer) for layer in layers), tuple(_copied(layer) for layer in layers))


def restore(cache: Cache, to: Mark) -> None:
    """Puts the layers back as they were at the mark; they may only have grown since. A mark may be used again."""
    layers: list[Any] = cache.layers[to.first : to.first + len(to.lengths)]
    for layer, length, states in zip(layers, to.lengths, to.recurrent, strict=True):
        if isinstance(layer, CacheLayerMixin) and (grown := _length(layer) - length):
            layer.crop(-grown)  # type: ignore[attr-defined]
        if states is not None:
            convolution, recurrent, known = states
            # Copied again: decoding updates states in place, and would change the mark.
            layer.conv_states.update(_clones(convolution))
            layer.recurrent_states.update(_clones(recurrent))
            layer.has_previous_state.update(known)


def drop_last(cache: Cache, first: int, last: int, tokens: int) -> None:
    """Takes the last tokens out of layers first + 1 to last, none of which is recurrent."""
    layers: list[Any] = cache.layers[first:last]
    for layer in layers:
        layer.crop(-tokens)


def holds_recurrent(cache: Cache, first: int, last: int) -> bool:
    """Whether any of layers first + 1 to last can only go back by a copy."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers[first:last])


def _length(layer: Any) -> int:
    return int(layer.get_seq_length()) if isinstance(layer, CacheLayerMixin) else 0


def _copied(layer: Any) -> tuple[States, States, dict[int, bool]] | None:
    if not isinstance(layer, LinearAttentionCacheLayerMixin):
        return None
    return _clones(layer.conv_states), _clones(layer.recurrent_states), dict(layer.has_previous_state)


def _clones(states: States) -> States:
    return {index: None if state is None else state.clone() for index, state in states.items()}
