"""What a sparse pass chose on a text, held against what an exact choice would have caught."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.baselines import block_mass
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.fallbacks import Fallback
from assay_inference_optimizer.core.sparse.prefill import prefill
from assay_inference_optimizer.core.sparse.sparse_layer import Chosen

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LayerInspection:
    """One layer. What follows `density` is empty, or None, for a layer that ran dense.

    density: attended over causal pairs. blocks: key blocks of each query block, ascending. scores: [N, N] what was
    chosen by, R of the walk for Sketch&Walk; entries of later key blocks are 0. mass: share of the exact attention
    probability that falls on the chosen blocks, mean over queries and heads, on this pass's own queries and keys;
    block_mass: the same of each query block. oracle_mass: what the best choice of as many blocks, query block by query
    block, would have caught. oracle_recall: mass / oracle_mass.
    """

    layer: int
    fallback: Fallback | None
    density: float
    blocks: tuple[tuple[int, ...], ...] = ()
    scores: Floats | None = None
    block_mass: tuple[float, ...] = ()
    mass: float | None = None
    oracle_mass: float | None = None

    @property
    def oracle_recall(self) -> float | None:
        return None if self.mass is None or not self.oracle_mass else self.mass / self.oracle_mass


@dataclass(frozen=True)
class Inspection:
    """density: mean over the layers with full causal attention."""

    tokens: int
    block_size: int
    density: float
    layers: tuple[LayerInspection, ...]


def inspect(model: PreTrainedModel, ids: Tensor, sparse: SparseConfig, *, cancel: CancelToken) -> Inspection:
    """Reads one text, ids [T] int64, in one pass. Attaches to the model.

    The exact probabilities cost what dense attention costs, for each layer; memory is bounded.
    """
    if ids.dim() != 1 or not len(ids):
        raise InvalidInput("ids", f"have shape {tuple(ids.shape)}; give the tokens of one text")
    attach(model)
    cache = SparseCache(model.config, sparse)
    found: dict[int, LayerInspection] = {}

    def watch(layer: int, chosen: Chosen) -> None:
        cancel.check()
        found[layer] = _inspected(layer, chosen, cache)

    with torch.inference_mode(), cache.watched(watch):
        prefill(model, ids[None].to(model.device), cache, cancel=cancel)
    densities = cache.density()
    for fallback in cache.fallbacks():
        layer = fallback.layer
        found[layer] = LayerInspection(layer, fallback, densities.get(layer, 1.0))
    layers = tuple(found[layer] for layer in sorted(found))
    return Inspection(len(ids), sparse.block_size, cache.mean_density(), layers)


def _inspected(layer: int, chosen: Chosen, cache: SparseCache) -> LayerInspection:
    selection, rows = chosen.selection, chosen.selection.rows
    exact = block_mass(chosen.step, rows)  # [1, N, N]
    lists = selection.indices[0, 0].tolist()
    blocks = tuple(tuple(row[:count]) for row, count in zip(lists, selection.counts[0, 0].tolist(), strict=True))
    caught = _caught(exact[0], blocks)
    # The forced blocks of the real choice bind the oracle no more: it may take any as many blocks.
    best = exact[0].sort(dim=-1, descending=True).values.cumsum(-1)
    counts = torch.tensor([len(row) for row in blocks], device=exact.device)
    oracle = best.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
    size, tokens = rows.block_size, chosen.step.tokens
    queries = torch.tensor([min(size, tokens - block * size) for block in range(len(blocks))], dtype=torch.float64)
    weights = (queries / queries.sum()).to(exact.device)
    return LayerInspection(
        layer,
        None,
        cache.density()[layer],
        blocks,
        _causal(chosen.scores[0]).float().cpu().numpy(),
        tuple(caught.tolist()),
        float((weights * caught).sum()),
        float((weights * oracle).sum()),
    )


def _caught(exact: Tensor, blocks: tuple[tuple[int, ...], ...]) -> Tensor:
    """[N] share of each query block's mass on its chosen blocks."""
    taken = torch.zeros_like(exact, dtype=torch.bool)
    for query_block, chosen in enumerate(blocks):
        taken[query_block, list(chosen)] = True
    return (exact * taken).sum(1)


def _causal(scores: Tensor) -> Tensor:
    return scores.tril()
