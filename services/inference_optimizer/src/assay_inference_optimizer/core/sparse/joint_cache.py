"""One pass of several requests at once, each with a sparse cache of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assay.errors import InvalidInput
from assay_inference_optimizer.core.generation.joint_cache import JointCache
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.fallbacks import Dense


class JointSparseCache(JointCache):
    """The sparse caches of several requests (each of batch 1) as one batch, for one token each.

    Sparse layers attend row by row, from the row's own keys and its own blocks: nothing of one request can reach
    another. Raises InvalidInput where the caches have different settings.
    """

    layers: Any  # of transformers' layers and _SparseRows

    def __init__(self, rows: Sequence[SparseCache]) -> None:
        if any(row.sparse != rows[0].sparse for row in rows):
            raise InvalidInput("sparse", "differs between the rows of a batch; decode rows of one setting together")
        super().__init__(rows)
        self._caches = list(rows)
        for index in range(len(self.layers)):
            if rows[0].is_sparse(index):
                self.layers[index] = _SparseRows([row.layers[index] for row in rows], self.total)

    def begin_pass(self, batch: int, tokens: int, attention_mask: Tensor | None) -> None:
        for row in self._caches:
            row.begin_pass(1, tokens, None)

    def is_sparse(self, layer: int) -> bool:
        return isinstance(self.layers[layer], _SparseRows)

    def keys_of(self, layer: int) -> Tensor:
        keys: Tensor = self.layers[layer].keys
        return keys

    def fall_back(self, layer: int, why: Dense, detail: str) -> None:
        raise AssertionError("what a layer falls back for is known from the prefill")

    def attend(self, layer: int, query: Tensor, scaling: float) -> Tensor:
        """query: [B, Hq, 1, D]"""
        rows = enumerate(self._caches)
        return torch.cat([row.attend(layer, query[index : index + 1], scaling) for index, row in rows])


class _SparseRows:
    """A layer whose rows are stored apart and attended to apart."""

    is_sliding = False
    is_compileable = False
    is_croppable = False
    is_initialized = True
    supports_early_init = False

    def __init__(self, rows: Sequence[Any], total: int) -> None:
        self._rows = rows
        self._total = total
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Stores each row's token; what is handed on is never attended to."""
        for index, row in enumerate(self._rows):
            row.update(key_states[index : index + 1], value_states[index : index + 1])
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self._total - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._total, 0
