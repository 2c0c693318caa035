"""Keys and values that grow in place: transformers' own layer copies all of them for every token decoded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

_SPARE_TOKENS = 256


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` whose tensors are the filled part of larger ones. Tokens cropped away are overwritten."""

    keys: Any  # Tensor | None to transformers; a Tensor once initialized
    values: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._key_room: Tensor | None = None
        self._value_room: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """key_states, value_states: [B, H, Q, D], appended; returns all of both, [B, H, T, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        have = self.get_seq_length()
        self._key_room = _with_room(self._key_room, self.keys, have, key_states)
        self._value_room = _with_room(self._value_room, self.values, have, value_states)
        total = have + key_states.shape[2]
        self.keys, self.values = self._key_room[:, :, :total], self._value_room[:, :, :total]
        return self.keys, self.values

    def reset(self) -> None:
        super().reset()
        self._key_room = self._value_room = None

    def held_bytes(self) -> int:
        """Bytes of both tensors, their spare room included."""
        return sum(room.nbytes for room in (self._key_room, self._value_room) if room is not None)


def _with_room(room: Tensor | None, filled: Tensor, have: int, new: Tensor) -> Tensor:
    """A tensor that begins with the filled part, followed by the new one: `room` itself where it can take it."""
    total = have + new.shape[2]
    if room is None or not _takes(room, filled, have, total):
        spare = 0 if have == 0 and new.shape[2] == 0 else max(_SPARE_TOKENS, total // 8)
        larger = new.new_empty((new.shape[0], new.shape[1], total + spare, new.shape[3]))
        if have:
            larger[:, :, :have] = filled
        room = larger
    room[:, :, have:total] = new.detach()
    return room


def _takes(room: Tensor, filled: Tensor, have: int, total: int) -> bool:
    # What reordered or selected rows left behind is a tensor of its own; one made under inference mode takes no
    # writes outside it.
    same = have == 0 or (filled.data_ptr() == room.data_ptr() and filled.shape[:2] == room.shape[:2])
    writable = torch.is_inference_mode_enabled() or not room.is_inference()
    return same and writable and total <= room.shape[2]
