"""How many bytes a sparse cache takes, known before it holds anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay_inference_optimizer.core.sparse.config import Method, SparseConfig
from assay_inference_optimizer.core.sparse.densities import layer_densities
from assay_inference_optimizer.core.sparse.fallbacks import unsuited
from assay_inference_optimizer.core.sparse.recurrent import KEPT
from assay_inference_optimizer.core.sparse.sketch_walk import WINDOW

ROLLBACK_TOKENS = 128  # queries that a cache keeps of its own accord, or a block's
SPARE_TOKENS = 256  # room that keys and values have ahead, or an eighth of them


@dataclass(frozen=True)
class SparseBytes:
    """text_config: the model's text decoder. item: bytes of one of its numbers. fixed, per_token: bytes of a dense
    cache of batch 1, whatever its length and for each token."""

    text_config: Any
    item: int
    fixed: int
    per_token: int

    def most(self, sparse: SparseConfig, tokens: int, rollback_tokens: int | None = None) -> int:
        """An upper bound of what is held after `tokens` tokens, however they were read.

        rollback_tokens: as of `SparseCache`.
        """
        rollback = max(ROLLBACK_TOKENS, sparse.block_size) if rollback_tokens is None else rollback_tokens
        room = tokens + max(SPARE_TOKENS, tokens // 8)
        held = (1 + KEPT) * self.fixed + room * self.per_token
        walking = self._walking(sparse)
        return held + walking * self._walk(sparse, tokens, rollback) if walking else held

    def _walking(self, sparse: SparseConfig) -> int:
        """How many layers keep sketches and a walk."""
        if sparse.method not in (Method.SKETCH_WALK, Method.ONE_HOP):
            return 0
        layers, dense = int(self.text_config.num_hidden_layers), unsuited(self.text_config)
        densities = layer_densities(sparse, layers, dense)
        return sum(densities[layer] != 1 for layer in range(layers) if layer not in dense)

    def _walk(self, sparse: SparseConfig, tokens: int, rollback: int) -> int:
        """Of one layer."""
        config, size = self.text_config, sparse.block_size
        heads = int(config.num_attention_heads)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        dimension = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        blocks = -(-tokens // size)
        room = 2 * blocks  # grown by doubling
        window = min(WINDOW, size)
        numbers = room * kv_heads * sparse.sketch_dimensions(dimension)  # sketches of blocks
        numbers += room * room + (window + rollback) * blocks  # the walk, and the rows of late
        numbers += (heads + kv_heads) * dimension  # what is open of a block
        recent = 2 * (rollback + max(size, window)) * heads * dimension
        return 4 * numbers + self.item * recent
