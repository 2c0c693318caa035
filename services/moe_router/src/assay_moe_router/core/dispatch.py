"""Which replica of an expert a token goes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ReplicaChoice:
    """Round robin by order of arrival: the i-th token of a forward pass that is sent to an expert takes its
    (i mod c)-th slot of c.

    It depends on the router's choices alone, so the same batch under the same plan takes the same slots on every
    rank, and an expert's slots differ by one token at most. slot_experts: [s] the expert of each slot, the experts
    themselves first, then replicas. The router is not involved: its choices stay as they are.
    """

    def __init__(self, slot_experts: Sequence[int], experts: int) -> None:
        slots_of = [[slot for slot, owner in enumerate(slot_experts) if owner == expert] for expert in range(experts)]
        width = max(map(len, slots_of))
        self._experts = experts
        self._counts = torch.tensor([*(len(slots) for slots in slots_of), 1])  # [m + 1], the last for nobody's tokens
        table = [slots + slots[:1] * (width - len(slots)) for slots in slots_of]
        self._table = torch.tensor([*table, [len(slot_experts)] * width])  # [m + 1, width]

    def slots(self, index: Tensor, real: Tensor) -> Tensor:
        """Slot of each choice, [N, k] int64; the number of slots stands for "no expert here".

        index: [N, k] expert ids; others than 0..m-1 belong to nobody. real: [N] bool, False for padding, which takes
        the expert itself and no turn, so that padding moves no real token to another slot.
        """
        flat = torch.where((index >= 0) & (index < self._experts), index, self._experts).reshape(-1).cpu()
        queue = torch.where(real.cpu().repeat_interleave(index.shape[1]), flat, self._experts)
        order = torch.argsort(queue, stable=True)
        lengths = torch.bincount(queue, minlength=self._experts + 1)
        begins = lengths.cumsum(0) - lengths
        ordinal = torch.empty_like(order)
        ordinal[order] = torch.arange(len(order)) - begins.repeat_interleave(lengths)
        turn = torch.where(queue == flat, ordinal % self._counts[flat], 0)
        return self._table[flat, turn].view(index.shape)
