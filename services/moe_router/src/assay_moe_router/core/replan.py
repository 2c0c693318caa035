"""Planning again from the last window of traffic against one plan for ever, when the traffic's domain drifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assay.errors import InvalidInput
from assay_moe_router.core.evaluate import Comparison, paired
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.replicate_quantize import ExpertBytes, Policy, plan_replicate_quantize
from assay_moe_router.core.statistics import Floats, RoutingStatistics


@dataclass(frozen=True)
class Replanning:
    """lis_logical, mean over layers, of each window from the second on, [W - 1].

    The tokens are those that the model routed; how they would spread over slots is computed, each expert's evenly.
    static_replicas, dynamic_replicas: mean over layers, [W - 1].
    """

    static: Floats
    dynamic: Floats
    unbalanced: Floats
    change: Comparison
    static_replicas: Floats
    dynamic_replicas: Floats


def replan(
    model: str,
    calibration: RoutingStatistics,
    traffic: RoutingStatistics,
    importance: Importance,
    expert_bytes: Mapping[int, ExpertBytes],
    *,
    window_sequences: int,
    bits: Sequence[int] = (8,),
    policy: Policy = Policy.TARGET_LIS,
    seed: int = 0,
) -> Replanning:
    """traffic: sequences in the order they come. The static plan stands on `calibration`, the dynamic one for window
    t on window t - 1 alone; both are scored on window t. Both have the same policy, bits and budget. change: negative
    where planning again is better; its interval resamples windows. Under TARGET_LIS a short window looks less balanced
    than it is and gets more replicas, so that a fresh plan is a little better on steady traffic too: read the change
    beside the replicas. Raises InvalidInput for fewer than three windows.
    """
    if window_sequences < 1 or traffic.sequences < 3 * window_sequences:
        raise InvalidInput(
            "window_sequences", f"is {window_sequences}; give 1 to {traffic.sequences // 3}, a third of the traffic"
        )

    def planned(statistics: RoutingStatistics) -> BalancePlan:
        return plan_replicate_quantize(model, statistics, importance, expert_bytes, policy=policy, bits=bits)

    fixed = planned(calibration)
    windows = [
        RoutingStatistics(tuple(layer.window(start, start + window_sequences) for layer in traffic.layers))
        for start in range(0, traffic.sequences - window_sequences + 1, window_sequences)
    ]
    static, dynamic, unbalanced, replicas = [], [], [], []
    for last, now in pairwise(windows):
        fresh = planned(last)
        scores = [
            [plan.layer(layer.layer).balance(layer.loads) for layer in now.layers if layer.loads.any()]
            for plan in (fixed, fresh)
        ]
        static.append(np.mean([balance.lis_logical for balance in scores[0]]))
        dynamic.append(np.mean([balance.lis_logical for balance in scores[1]]))
        unbalanced.append(np.mean([balance.before for balance in scores[0]]))
        replicas.append([np.mean([layer.replicas for layer in plan.layers]) for plan in (fixed, fresh)])
    one, other = np.array(static), np.array(dynamic)
    return Replanning(one, other, np.array(unbalanced), paired(one, other, seed=seed), *np.array(replicas).T)
