"""Running a model whose experts are replicated and quantized as a plan says, its router untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay_moe_router.core.dispatch import ReplicaChoice
from assay_moe_router.core.packed_experts import PackedExperts
from assay_moe_router.core.plan import BalancePlan
from assay_moe_router.core.routing import watched_forward
from assay_moe_router.core.sites import RunExperts, Site, find_sites, replaced_experts
from assay_moe_router.core.statistics import Ints


class SlotCounts:
    """Tokens that each slot of each layer got (padding left out), and the experts' tokens they add up to."""

    def __init__(self, plan: BalancePlan) -> None:
        self._plan = plan
        self.slots: dict[int, Ints] = {p.layer: np.zeros(len(p.slot_experts), dtype=np.int64) for p in plan.layers}

    def add(self, layer: int, slots: Tensor) -> None:
        size = len(self.slots[layer])
        self.slots[layer] += np.bincount(slots[slots < size].numpy(), minlength=size)

    def experts(self, layer: int) -> Ints:
        """[m]"""
        plan = self._plan.layer(layer)
        totals = np.zeros(plan.experts, dtype=np.int64)
        np.add.at(totals, np.asarray(plan.slot_experts), self.slots[layer])
        return totals


@contextmanager
def balanced(model: PreTrainedModel, plan: BalancePlan, packed: Mapping[int, PackedExperts]) -> Iterator[SlotCounts]:
    """The model under the plan, inside the block. packed: by layer.

    Slots of one expert and one precision hold the same numbers, so on one device their tokens are computed together;
    that makes an exact plan's logits those of the model to the bit. A quantized replica answers a little differently
    from the expert it stands in for, so which token goes where is decided by `ReplicaChoice` alone.
    """
    sites = find_sites(model)
    counts = SlotCounts(plan)
    with ExitStack() as stack:
        forward = stack.enter_context(watched_forward(model, lambda: None))

        def planned(site: Site) -> RunExperts:
            layer = plan.layer(site.layer)
            choice = ReplicaChoice(layer.slot_experts, site.experts)
            experts = packed[site.layer]
            groups = _groups(layer.slot_experts, layer.slot_bits)

            def run(hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
                index = index.reshape(len(hidden), -1)
                real = forward.mask(site, len(hidden)).reshape(-1)
                slots = choice.slots(index, real)
                counts.add(site.layer, slots[real.cpu()])
                slots = slots.to(hidden.device)
                return _combine(site, experts, groups, hidden, slots, weight.reshape(slots.shape))

            return run

        stack.enter_context(replaced_experts(model, sites, planned))
        yield counts


def _groups(slot_experts: tuple[int, ...], slot_bits: tuple[int, ...]) -> list[list[int]]:
    """Slots with the same content, in the order of their experts."""
    groups: dict[tuple[int, int], list[int]] = {}
    for slot, key in enumerate(zip(slot_experts, slot_bits, strict=True)):
        groups.setdefault(key, []).append(slot)
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], groups[key][0]))]


def _combine(
    site: Site, experts: PackedExperts, groups: list[list[int]], hidden: Tensor, slots: Tensor, weight: Tensor
) -> Tensor:
    """What transformers' eager experts do, slot group by slot group: the same operations in the same order."""
    output = torch.zeros_like(hidden)
    for group in groups:
        taken = torch.isin(slots, torch.tensor(group, device=slots.device))
        # Position before token, as eager code walks its mask.
        position, token = torch.where(taken.T)
        if not len(token):
            continue
        result = site.run_expert(experts.weights(group[0]), hidden[token])
        weighted = result * weight[token, position, None]
        output.index_add_(0, token, weighted.to(output.dtype))
    return output
