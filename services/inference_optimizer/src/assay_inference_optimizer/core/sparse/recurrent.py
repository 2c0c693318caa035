"""Copies of recurrent states, since nothing can be taken out of one: transformers' `crop` leaves them as they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from assay.errors import FailedPrecondition

KEPT = 4
"""Snapshots held, each as large as the recurrent states themselves."""

States = dict[int, Tensor | None]


@dataclass
class _State:
    convolution: States
    recurrent: States
    known: dict[int, bool]


class Snapshots:
    """States of a cache's recurrent layers before its last few forward passes, by tokens read until then."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = [layer for layer in layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
        self._taken: OrderedDict[int, list[_State]] = OrderedDict()

    @property
    def needed(self) -> bool:
        return bool(self._layers)

    def take(self, tokens: int) -> None:
        """Remembers the states as they are after `tokens` tokens."""
        self._taken.pop(tokens, None)
        self._taken[tokens] = [
            _State(_copies(layer.conv_states), _copies(layer.recurrent_states), dict(layer.has_previous_state))
            for layer in self._layers
        ]
        while len(self._taken) > KEPT:
            self._taken.popitem(last=False)

    def restore(self, tokens: int) -> None:
        """Puts the states back. FailedPrecondition where no pass began after `tokens` tokens, or too long ago."""
        if tokens not in self._taken:
            there = ", ".join(map(str, self._taken)) or "none"
            raise FailedPrecondition(
                f"cache: its recurrent layers go back to where one of the last {KEPT} passes began (tokens: {there}), "
                f"not to {tokens}; prefill again",
                reason="NO_SNAPSHOT",
            )
        for layer, state in zip(self._layers, self._taken[tokens], strict=True):
            # Copied again: decoding updates states in place, and would change the snapshot.
            layer.conv_states.update(_copies(state.convolution))
            layer.recurrent_states.update(_copies(state.recurrent))
            layer.has_previous_state.update(state.known)
        for later in [known for known in self._taken if known > tokens]:
            del self._taken[later]

    def forget(self) -> None:
        self._taken.clear()

    def select(self, rows: Tensor) -> None:
        """Keeps, repeats or reorders rows of the batch as the layers themselves do."""
        for states in self._taken.values():
            for state in states:
                for tensors in (state.convolution, state.recurrent):
                    for index, tensor in tensors.items():
                        if tensor is not None:
                            tensors[index] = tensor.index_select(0, rows.to(tensor.device))


def select_rows(layer: LinearAttentionCacheLayerMixin, rows: Tensor) -> None:
    """What transformers' recurrent layers lack: choosing rows of the batch by index, with repetition."""
    for tensors in (layer.conv_states, layer.recurrent_states):
        for index, tensor in tensors.items():
            if tensor is not None:
                tensors[index] = tensor.index_select(0, rows.to(tensor.device))


def _copies(states: States) -> States:
    return {index: None if state is None else state.clone() for index, state in states.items()}
