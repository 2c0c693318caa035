"""The Load-Imbalance Score (LIS): how many times its fair share the busiest expert carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidInput
from assay_moe_router.core.statistics import Ints, check_loads


def load_imbalance(slot_tokens: NDArray[np.generic] | Sequence[float], experts: int) -> float:
    """LIS = m * max_j(n_j) / sum_j(n_j), arXiv:2602.19938 (written n*k there: no token is dropped).

    slot_tokens: [s] tokens each slot was sent; a replica is a slot. experts: m, the number that makes the fair
    share: of experts (`lis_logical`, comparable before and after replication) or of slots (`lis_slots`).
    Returns a ratio, 1 is even; below 1 is possible with more slots than experts. Raises InvalidInput for a layer
    without tokens: it has no balance, and 0 would look like a good one.
    """
    loads = np.asarray(slot_tokens, dtype=np.float64)
    check_loads(loads, "slot_tokens")
    if experts < 1 or loads.size < experts:
        raise InvalidInput("slot_tokens", f"has {loads.size} slots for {experts} experts; give at least one each")
    total = loads.sum()
    if total == 0:
        raise InvalidInput("slot_tokens", f"all {loads.size} counts are 0; send at least one token")
    return float(experts * loads.max() / total)


def batch_curve(counts: Ints, batch_sizes: Sequence[int]) -> dict[int, NDArray[np.float64]]:
    """Instantaneous LIS: of each batch of consecutive sequences, by batch size.

    counts: [S, m]. Returns, for each size that fits, the scores of the S // size batches; a batch without tokens has
    none and is left out, as is a size whose batches all are.
    """
    sequences, experts = counts.shape
    curve = {}
    for size in batch_sizes:
        batches = sequences // size
        loads = counts[: batches * size].reshape(batches, size, experts).sum(axis=1)
        loads = loads[loads.sum(axis=1) > 0]
        if len(loads):
            curve[size] = experts * loads.max(axis=1) / loads.sum(axis=1)
    return curve
