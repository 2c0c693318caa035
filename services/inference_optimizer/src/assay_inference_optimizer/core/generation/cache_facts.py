"""What there is to ask of a cache, sparse or dense: how dense each layer was, and why where it was not sparse."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import Cache

from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig


def densities(cache: Cache) -> Mapping[int, float]:
    """Attended over causal pairs so far, by layer; empty for a dense cache."""
    return dict(cache.density()) if isinstance(cache, SparseCache) else {}


def fallbacks(cache: Cache) -> Mapping[int, str]:
    """Layers that stayed dense under sparse attention, and why."""
    return {found.layer: found.detail for found in cache.fallbacks()} if isinstance(cache, SparseCache) else {}


def mean_density(cache: Cache) -> float:
    """Mean over layers with attention; 1 for a dense cache."""
    return float(cache.mean_density()) if isinstance(cache, SparseCache) else 1.0


def reading(cache: Cache) -> AbstractContextManager[None]:
    """Within it tokens belong to a prompt, also a single one."""
    return cache.reading() if isinstance(cache, SparseCache) else nullcontext()


def decoding(cache: Cache) -> AbstractContextManager[None]:
    """Within it every token is a decoding step, also of several in one pass."""
    return cache.decoding() if isinstance(cache, SparseCache) else nullcontext()


def walked(cache: Cache) -> tuple[torch.Tensor, ...]:
    """What layers that are run apart go on from, as of `SparseCache`; () for a dense cache."""
    return cache.walked if isinstance(cache, SparseCache) else ()


def sparse_settings(cache: Cache) -> SparseConfig | None:
    """None for a dense cache."""
    return cache.sparse if isinstance(cache, SparseCache) else None


def held_bytes(cache: Cache) -> int:
    """Bytes of all that a cache holds: of a sparse one spare room, sketches and walks too."""
    if isinstance(cache, SparseCache):
        return int(cache.held_bytes())
    return sum(_bytes_in(vars(layer)) for layer in cache.layers)


def _bytes_in(held: Any) -> int:
    if isinstance(held, torch.Tensor):
        return held.numel() * held.element_size()
    if isinstance(held, Mapping):
        return sum(map(_bytes_in, held.values()))
    if isinstance(held, list | tuple):
        return sum(map(_bytes_in, held))
    return 0
