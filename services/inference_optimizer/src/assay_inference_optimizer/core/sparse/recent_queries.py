"""The last queries of a layer, kept so that tokens can be taken back."""

from __future__ import annotations

import torch
from torch import Tensor


class RecentQueries:
    """At most `limit` queries, [B, H, n, D], the newest last. Once in `limit` times appending one copies them all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.room: Tensor | None = None
        self._end = 0

    @property
    def tensor(self) -> Tensor:
        assert self.room is not None
        return self.room[:, :, max(0, self._end - self._limit) : self._end]

    def __len__(self) -> int:
        return min(self._limit, self._end)

    def append(self, query: Tensor) -> None:
        """query: [B, H, Q, D]"""
        query = query.detach()[:, :, -self._limit :]
        new = query.shape[2]
        full = self.room is not None and self._end + new > self.room.shape[2]
        frozen = self.room is not None and self.room.is_inference() and not torch.is_inference_mode_enabled()
        if self.room is None or full or frozen:
            kept = self.tensor[:, :, max(0, len(self) + new - self._limit) :] if len(self) else query[:, :, :0]
            room = query.new_empty((*query.shape[:2], 2 * self._limit, query.shape[3]))
            room[:, :, : kept.shape[2]] = kept
            self.room, self._end = room, kept.shape[2]
        self.room[:, :, self._end : self._end + new] = query
        self._end += new

    def drop(self, tokens: int) -> None:
        """Forgets the newest."""
        self._end -= tokens

    def select(self, rows: Tensor) -> None:
        if self.room is not None:
            self.room = self.room.index_select(0, rows.to(self.room.device))
