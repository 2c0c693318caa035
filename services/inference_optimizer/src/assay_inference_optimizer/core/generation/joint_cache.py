"""One decoding step of several requests at once, each with a cache of its own.

Rows meet for a step only: every request keeps its keys and values in tensors that nobody else holds, and the step
sees them side by side, aligned at the newest token. So requests join and leave between steps at no cost, their
lengths differ freely, and no row can reach another's keys. The price is one copy of a layer's keys and values a
step; memory for it is needed for one layer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def can_join(config: PreTrainedConfig) -> bool:
    """Whether all state of a model's requests is keys and values by position.

    Recurrent state and other models' special layers are kept apart: their requests decode one by one.
    """
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


class JointCache(Cache):
    """The caches of several requests (each of batch 1, of a model that `can_join`) as one batch, for one token each."""

    def __init__(self, rows: Sequence[Cache]) -> None:
        self.total = 1 + max(row.get_seq_length() for row in rows)
        by_layer: list[Any] = list(zip(*(row.layers for row in rows), strict=True))
        layers: list[Any] = [_JointLayer(layer, self.total) for layer in by_layer]
        super().__init__(layers=layers)
        self._lengths = [row.get_seq_length() + 1 for row in rows]

    def attention_mask(self) -> Tensor:
        """[B, total] int64: 1 where a row has a token, this step's included; rows end together."""
        lengths = torch.tensor(self._lengths)
        return (torch.arange(self.total)[None] >= self.total - lengths[:, None]).long()

    def position_ids(self) -> Tensor:
        """[B, 1]: where this step's token stands in its own row."""
        return torch.tensor(self._lengths)[:, None] - 1


class _JointLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    def __init__(self, rows: Sequence[DynamicLayer], total: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows
        self._total = total
        self.is_sliding = rows[0].is_sliding
        self.is_initialized = True
        if isinstance(rows[0], DynamicSlidingWindowLayer):
            self.sliding_window = rows[0].sliding_window

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """key_states, value_states: [B, H, 1, D]; returns both with all that came before, padded on the left."""
        updated = [
            row.update(key_states[index : index + 1], value_states[index : index + 1])
            for index, row in enumerate(self._rows)
        ]
        return _side_by_side([keys for keys, _ in updated]), _side_by_side([values for _, values in updated])

    def get_seq_length(self) -> int:
        return self._total - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        longest = max(row.get_mask_sizes(query_length)[0] for row in self._rows)
        return longest, self._total - longest


def _side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """rows: [1, H, T_b, D] each; [B, H, max T_b, D], the shorter ones padded with zeros on the left."""
    longest = max(row.shape[2] for row in rows)
    if all(row.shape[2] == longest for row in rows):
        return torch.cat(list(rows))
    first = rows[0]
    joined = first.new_zeros((len(rows), first.shape[1], longest, first.shape[3]))
    for index, row in enumerate(rows):
        joined[index, :, longest - row.shape[2] :] = row[0]
    return joined
