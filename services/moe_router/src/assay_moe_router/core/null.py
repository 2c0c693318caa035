"""What the imbalance of small batches would be by chance alone.

A batch's LIS is at least as large as that of many batches together even if every token were routed by the same
fixed odds: a maximum over few tokens is noisy. Two nulls tell that noise from structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.errors import InvalidInput
from assay_moe_router.core.load_imbalance import batch_curve
from assay_moe_router.core.statistics import LayerRouting


@dataclass(frozen=True)
class BatchPoint:
    """Mean LIS over the batches of one size, and what the nulls give: mean and 95 % range of that mean."""

    batch_sequences: int
    batches: int
    observed: float
    multinomial: float
    multinomial_low: float
    multinomial_high: float
    shuffled: float
    shuffled_low: float
    shuffled_high: float


def batch_points(
    layer: LayerRouting, batch_sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), *, draws: int = 200, seed: int = 0
) -> tuple[BatchPoint, ...]:
    """The batch-size curve of a layer beside both nulls.

    Multinomial: every choice drawn independently with the layer's mean odds (two choices of a token may then
    coincide, which real top-k never does). Shuffle: the tokens as they were routed, dealt to sequences at random,
    which keeps each token's k experts together and removes only what tokens of one sequence have in common.
    Raises InvalidInput for a layer without tokens.
    """
    if not layer.counts.any():
        raise InvalidInput(f"layers[{layer.layer}].counts", "are all 0; leave the layer out")
    random = np.random.default_rng(seed)
    observed = batch_curve(layer.counts, batch_sizes)
    sizes = list(observed)
    multinomial = {size: np.empty(draws) for size in sizes}
    shuffled = {size: np.empty(draws) for size in sizes}
    per_sequence = layer.counts.sum(axis=1)
    odds = layer.loads / layer.loads.sum()
    real = (layer.choices >= 0).any(axis=2)  # [S, T]; a token may have other choices on another device
    tokens = layer.choices[real]  # [N, k]
    lengths = real.sum(axis=1)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    for draw in range(draws):
        drawn = random.multinomial(per_sequence, odds)
        dealt = _count(owners, random.permutation(tokens), len(lengths), layer.experts)
        for size in sizes:
            multinomial[size][draw] = batch_curve(drawn, [size])[size].mean()
            shuffled[size][draw] = batch_curve(dealt, [size])[size].mean()
    return tuple(
        BatchPoint(
            batch_sequences=size,
            batches=len(observed[size]),
            observed=float(observed[size].mean()),
            multinomial=float(multinomial[size].mean()),
            multinomial_low=float(np.quantile(multinomial[size], 0.025)),
            multinomial_high=float(np.quantile(multinomial[size], 0.975)),
            shuffled=float(shuffled[size].mean()),
            shuffled_low=float(np.quantile(shuffled[size], 0.025)),
            shuffled_high=float(np.quantile(shuffled[size], 0.975)),
        )
        for size in sizes
    )


def _count(owners: np.ndarray, tokens: np.ndarray, sequences: int, experts: int) -> np.ndarray:
    cells = (owners[:, None] * experts + tokens)[tokens >= 0]
    return np.bincount(cells, minlength=sequences * experts).reshape(sequences, experts)
