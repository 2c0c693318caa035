"""How dense each layer may be so that the model is as sparse as asked."""

from __future__ import annotations

from collections.abc import Mapping

from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.config import DensityScope, Method, SparseConfig
from assay_inference_optimizer.core.sparse.fallbacks import Dense, Fallback

NOT_CAUSAL = (Dense.SLIDING_WINDOW, Dense.STATE_SPACE, Dense.NO_ATTENTION)
"""Layers that do not attend to the causal pairs in the first place; no density is a mean over them."""


def layer_densities(sparse: SparseConfig, layers: int, unsuited: Mapping[int, Fallback]) -> list[float]:
    """The density each layer is to have; 1 for those that stay dense.

    With ALL_LAYERS the sparse ones make up for those that stay dense. Raises InvalidInput where that cannot be.
    """
    if sparse.method is Method.DENSE:
        return [1.0] * layers
    if sparse.layer_densities:
        return [1.0 if layer in unsuited else sparse.layer_densities[layer] for layer in range(layers)]
    chosen = [layer for layer in range(sparse.dense_layers, layers) if layer not in unsuited]
    target = sparse.target_density
    if sparse.density_scope is DensityScope.ALL_LAYERS:
        counted = [layer for layer in range(layers) if not _uncounted(unsuited.get(layer))]
        left_dense = len(counted) - len(chosen)
        target = (target * len(counted) - left_dense) / len(chosen) if chosen else 0.0
        if target <= 0:
            least = left_dense / len(counted) if counted else 1.0
            raise InvalidInput(
                "target_density",
                f"is {sparse.target_density} over all layers, of which {left_dense} of {len(counted)} stay dense; give "
                f"more than {least:.2f}, fewer dense_layers, or density_scope sparse_layers",
            )
    return [target if layer in chosen else 1.0 for layer in range(layers)]


def _uncounted(fallback: Fallback | None) -> bool:
    return fallback is not None and fallback.why in NOT_CAUSAL
