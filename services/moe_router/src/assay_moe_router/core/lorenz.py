"""The Lorenz curve of expert loads: what share of tokens the least busy experts carry together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.errors import InvalidInput
from assay_moe_router.core.statistics import Floats, check_loads


def lorenz_curve(loads: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Shares of experts and of tokens, both [m + 1] from 0 to 1, least busy expert first."""
    check_loads(loads, "loads")
    values = np.sort(np.asarray(loads, dtype=np.float64))
    if values.sum() == 0:
        raise InvalidInput("loads", "are all 0; send at least one token")
    tokens = np.concatenate([[0.0], np.cumsum(values) / values.sum()])
    return np.linspace(0, 1, len(tokens)), tokens


def gini(loads: NDArray[np.generic]) -> float:
    """Twice the area between the Lorenz curve and the diagonal; 0 is even, 1 - 1/m is one expert taking all."""
    experts, tokens = lorenz_curve(loads)
    return float(1 - 2 * np.trapezoid(tokens, experts))
