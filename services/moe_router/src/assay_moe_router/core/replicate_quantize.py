"""Replicate-and-Quantize (arXiv:2602.19938): replicas of busy experts, paid for by quantizing unimportant ones.

The paper leaves open how many replicas, who pays and what bits cost. Here: replicas go one by one to the expert whose
slots are busiest; each layer pays for its own replicas, so that a layer's device needs no more memory than before;
the busiest expert and experts that are replicated are never quantized themselves; the least important pay first, and
only as many as must.
R int8 replicas need R + 1 int8 experts, not R, because scales take bytes too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from assay.errors import FailedPrecondition, InvalidInput
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.plan import OWN, BalancePlan, LayerPlan
from assay_moe_router.core.quantize import BITS
from assay_moe_router.core.statistics import Floats, Ints, RoutingStatistics

DEFAULT_TARGET = 1.2
MAX_SLOTS_PER_EXPERT = 4
"""Over a layer: more slots than this many times its experts balance nothing any more."""


class Policy(Enum):
    """PAPER: one replica of the busiest expert of each layer. TARGET_LIS: as few as reach the target, or as few as
    come closest to it. BYTES: as many as the budget pays for.
    """

    PAPER = "paper"
    TARGET_LIS = "target-lis"
    BYTES = "bytes"


@dataclass(frozen=True)
class ExpertBytes:
    """What one expert of a layer takes: as it is (own), and quantized, by bits."""

    own: int
    quantized: Mapping[int, int]

    def at(self, bits: int) -> int:
        return self.own if bits == OWN else self.quantized[bits]


def plan_replicate_quantize(
    model: str,
    statistics: RoutingStatistics,
    importance: Importance,
    expert_bytes: Mapping[int, ExpertBytes],
    *,
    policy: Policy,
    target_load_imbalance: float = DEFAULT_TARGET,
    bits: Sequence[int] = (8,),
    budget_bytes: int = 0,
    exact: bool = False,
) -> BalancePlan:
    """The plan for a model's layers. expert_bytes: by layer.

    budget_bytes: for all experts of all layers, 0 for what they take now; a smaller budget is shared out in
    proportion. exact: replicas of the experts' own type and nothing quantized, so logits do not change; memory grows,
    up to the budget where one is given. bits: widths that may be used; wider ones are used first.
    Raises InvalidInput, and FailedPrecondition where even a plan without replicas does not fit; its metadata says
    which budget would do and how many bytes are short of it.
    """
    widths = _check(bits, target_load_imbalance, budget_bytes, policy, exact)
    for index, layer in enumerate(statistics.layers):
        if layer.layer not in expert_bytes:
            raise InvalidInput(f"statistics.layers[{index}]", f"is layer {layer.layer}, which the model does not have")
    before = sum(expert_bytes[layer.layer].own * layer.experts for layer in statistics.layers)
    budget = budget_bytes or (0 if exact else before)
    layers, least = [], budget
    for routing in statistics.layers:
        sizes = expert_bytes[routing.layer]
        share = budget * sizes.own * routing.experts // before if budget else None
        scores = _scores(importance, routing.layer, routing.experts)
        planner = _LayerPlanner(routing.layer, routing.loads, scores, sizes, widths, share)
        found = planner.plan(policy, target_load_imbalance)
        # The smallest budget whose share is enough for this layer.
        least = max(least, -(-found.bytes_after * before // found.bytes_before)) if budget else 0
        layers.append(found)
    plan = BalancePlan(model, policy.value, exact, tuple(widths), target_load_imbalance, budget, tuple(layers))
    if least > budget:
        raise FailedPrecondition(
            f"budget_bytes: {budget} are {least - budget} short; experts take {least} at the least with these bits. "
            "Raise it, or allow fewer bits",
            reason="BUDGET_UNPAYABLE",
            metadata={"bytes_short": str(least - budget), "least_bytes": str(least)},
        )
    return plan


class _LayerPlanner:
    """widths: bits that may be used, widest first; none for exact plans. budget: bytes, None for no limit."""

    def __init__(
        self, layer: int, loads: Ints, scores: Floats, sizes: ExpertBytes, widths: Sequence[int], budget: int | None
    ) -> None:
        self._layer, self._loads, self._sizes, self._widths, self._budget = layer, loads, sizes, widths, budget
        self._experts = len(loads)
        heavy = {int(np.argmax(loads))} if loads.any() else set()
        # Least important first; of equals the less busy one, then the lower id. The busiest never pays.
        order = sorted(range(self._experts), key=lambda e: (float(scores[e]), int(loads[e]), e))
        self._payers = [expert for expert in order if expert not in heavy]

    def plan(self, policy: Policy, target: float) -> LayerPlan:
        replicas: list[int] = []
        best = self._pay(replicas)
        if best is None:
            return self._made(replicas, *self._cheapest())
        if not self._loads.sum():
            return self._made(replicas, *best, notes=("no token reached this layer; it gets no replica",))
        limit = 1 if policy is Policy.PAPER else (MAX_SLOTS_PER_EXPERT - 1) * self._experts
        note, closest = "", (replicas, best)
        while len(replicas) < limit:
            if policy is Policy.TARGET_LIS and self._imbalance(replicas) <= target:
                break
            more = [*replicas, self._busiest(replicas)]
            paid = self._pay(more)
            if paid is None:
                note = f"replica {len(more)} cannot be paid for within {self._budget} bytes"
                break
            replicas, best = more, paid
            if self._imbalance(replicas) < self._imbalance(closest[0]):
                closest = replicas, best
        if policy is Policy.TARGET_LIS:
            # Replicas that brought the layer no closer would cost precision for nothing.
            replicas, best = closest
        if policy is Policy.TARGET_LIS and (reached := self._imbalance(replicas)) > target:
            note = f"the target {target:g} is not reached, {reached:.3f} is; {note or 'more slots do not help'}"
        elif policy is Policy.BYTES:
            note = ""
        return self._made(replicas, *best, notes=(note,) if note else ())

    def _busiest(self, replicas: Sequence[int]) -> int:
        return int(np.argmax(self._loads / self._copies(replicas)))  # the lowest id of equals

    def _imbalance(self, replicas: Sequence[int]) -> float:
        """lis_logical with every expert's tokens spread evenly over its slots."""
        return float(self._experts * (self._loads / self._copies(replicas)).max() / self._loads.sum())

    def _copies(self, replicas: Sequence[int]) -> Ints:
        copies: Ints = 1 + np.bincount(replicas, minlength=self._experts)
        return copies

    def _pay(self, replicas: Sequence[int]) -> tuple[list[int], int] | None:
        """Bits of the experts and of the replicas that fit the budget, or None: the gentlest step that is enough.

        Experts go to the widest bits one by one, least important first, then to the next narrower; only where that is
        not enough are replicas narrowed too, which carry more traffic than any expert that pays.
        """
        if self._budget is None:
            return [OWN] * self._experts, OWN
        replicated = set(replicas)
        payers = [expert for expert in self._payers if expert not in replicated]
        for replica_bits in self._widths or (OWN,):
            excess = self._experts * self._sizes.own + len(replicas) * self._sizes.at(replica_bits) - self._budget
            bits = [OWN] * self._experts
            if excess <= 0:
                return bits, replica_bits
            for width in self._widths:
                # All payers stand at one width here, so each saves the same by going down to this one.
                saving = self._sizes.at(bits[payers[0]]) - self._sizes.at(width) if payers else 0
                if saving <= 0:
                    continue
                needed = -(-excess // saving)
                for expert in payers[:needed]:
                    bits[expert] = width
                if needed <= len(payers):
                    return bits, replica_bits
                excess -= saving * len(payers)
        return None

    def _cheapest(self) -> tuple[list[int], int]:
        narrowest = min((OWN, *self._widths), key=self._sizes.at)
        payers = set(self._payers)
        return [narrowest if expert in payers else OWN for expert in range(self._experts)], OWN

    def _made(
        self, replicas: Sequence[int], bits: Sequence[int], replica_bits: int, notes: tuple[str, ...] = ()
    ) -> LayerPlan:
        slot_bits = (*bits, *(replica_bits for _ in replicas))
        return LayerPlan(
            layer=self._layer,
            experts=self._experts,
            slot_experts=(*range(self._experts), *replicas),
            slot_bits=slot_bits,
            slot_bytes=tuple(map(self._sizes.at, slot_bits)),
            bytes_before=self._experts * self._sizes.own,
            expert_tokens=tuple(int(load) for load in self._loads),
            notes=notes,
        )


def _scores(importance: Importance, layer: int, experts: int) -> Floats:
    for found in importance.layers:
        if found.layer == layer:
            if found.experts != tuple(range(experts)):
                raise InvalidInput(
                    "importance", f"scores {len(found.experts)} of the {experts} experts of layer {layer}"
                )
            return found.scores
    raise InvalidInput("importance", f"says nothing of layer {layer}; score the model that was calibrated")


def _check(bits: Sequence[int], target: float, budget_bytes: int, policy: Policy, exact: bool) -> tuple[int, ...]:
    if any(width not in BITS for width in bits):
        raise InvalidInput("bits", f"are {list(bits)}; choose of {list(BITS)}")
    if not 0 < target < float("inf"):
        raise InvalidInput("target_load_imbalance", f"is {target}; give a positive number, 1 is even")
    if budget_bytes < 0:
        raise InvalidInput("budget_bytes", f"is {budget_bytes}; give 0 for the model's own bytes, or more")
    if exact and policy is Policy.BYTES and not budget_bytes:
        raise InvalidInput("budget_bytes", "is needed where exact replicas are to fill it")
    return () if exact else tuple(sorted(set(bits), reverse=True)) or (8,)
