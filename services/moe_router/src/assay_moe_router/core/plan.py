"""A balance plan: for every layer the slots, what each holds and in how many bits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay_moe_router.core.load_imbalance import load_imbalance
from assay_moe_router.core.quantize import BITS
from assay_moe_router.core.statistics import Floats, Ints

DOCUMENT = "plan.json"
OWN = 0
"""Bits of a slot that is stored in the model's own type."""
MISMATCH = "PLAN_OF_ANOTHER_MODEL"


@dataclass(frozen=True)
class LayerPlan:
    """slot_experts: expert of each slot; the first m slots are the experts themselves, in order. slot_bits: 8, 4 or
    OWN. slot_bytes: what each slot takes. expert_tokens: [m] loads it was planned on. bytes_before: of the m experts
    as they are. notes: what the planner could not do.
    """

    layer: int
    experts: int
    slot_experts: tuple[int, ...]
    slot_bits: tuple[int, ...]
    slot_bytes: tuple[int, ...]
    bytes_before: int
    expert_tokens: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.slot_experts[: self.experts] != tuple(range(self.experts)):
            raise InvalidInput(f"layers[{self.layer}].slot_experts", "must begin with every expert itself, in order")
        if any(not 0 <= expert < self.experts for expert in self.slot_experts):
            raise InvalidInput(f"layers[{self.layer}].slot_experts", f"holds an id outside 0..{self.experts - 1}")
        if not len(self.slot_experts) == len(self.slot_bits) == len(self.slot_bytes):
            raise InvalidInput(f"layers[{self.layer}].slot_bits", "must say the bits and bytes of every slot")
        for slot, (bits, size) in enumerate(zip(self.slot_bits, self.slot_bytes, strict=True)):
            if bits not in (OWN, *BITS):
                raise InvalidInput(f"layers[{self.layer}].slot_bits[{slot}]", f"is {bits}; choose of {(OWN, *BITS)}")
            if size <= 0:
                raise InvalidInput(f"layers[{self.layer}].slot_bytes[{slot}]", f"is {size}; every slot takes some")
        if len(self.expert_tokens) != self.experts:
            raise InvalidInput(
                f"layers[{self.layer}].expert_tokens", f"are {len(self.expert_tokens)} for {self.experts} experts"
            )

    @property
    def replicas(self) -> int:
        return len(self.slot_experts) - self.experts

    @property
    def bytes_after(self) -> int:
        return sum(self.slot_bytes)

    @property
    def quantized_experts(self) -> int:
        """Experts whose own slot is quantized; replicas are not counted."""
        return sum(bits != OWN for bits in self.slot_bits[: self.experts])

    def slot_loads(self, expert_tokens: Ints | Sequence[int]) -> Floats:
        """[s] expected tokens of each slot: an expert's tokens spread evenly over its slots."""
        owners = np.asarray(self.slot_experts)
        copies = np.bincount(owners, minlength=self.experts)
        shares: Floats = (np.asarray(expert_tokens, dtype=np.float64) / copies)[owners]
        return shares

    def balance(self, expert_tokens: Ints | Sequence[int]) -> Balance:
        """LIS on these loads before and after, with each expert's tokens spread evenly over its slots."""
        return Balance.of(self, self.slot_loads(expert_tokens), expert_tokens)


@dataclass(frozen=True)
class Balance:
    """before: LIS of the experts. lis_logical, lis_slots: of the slots, with the fair share of m experts or of all
    slots; the paper leaves open which it means, the first compares before and after.
    """

    before: float
    lis_logical: float
    lis_slots: float

    @property
    def ratio(self) -> float:
        """How many times better the plan is, before / lis_logical."""
        return self.before / self.lis_logical

    @classmethod
    def of(cls, plan: LayerPlan, slot_tokens: Floats | Ints, expert_tokens: Ints | Sequence[int]) -> Balance:
        """From tokens as slots got them, counted or expected. InvalidInput where there are none."""
        return cls(
            load_imbalance(np.asarray(expert_tokens), plan.experts),
            load_imbalance(slot_tokens, plan.experts),
            load_imbalance(slot_tokens, len(slot_tokens)),
        )


@dataclass(frozen=True)
class BalancePlan:
    """model: fingerprint of the checkpoint it is for. policy: "paper", "target-lis" or "bytes". budget_bytes: what the
    experts may take, 0 for no limit (exact). notes: of the plan as a whole.
    """

    model: str
    policy: str
    exact: bool
    bits: tuple[int, ...]
    target_load_imbalance: float
    budget_bytes: int
    layers: tuple[LayerPlan, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def bytes_before(self) -> int:
        return sum(layer.bytes_before for layer in self.layers)

    @property
    def bytes_after(self) -> int:
        return sum(layer.bytes_after for layer in self.layers)

    def layer(self, index: int) -> LayerPlan:
        """FailedPrecondition where the plan has no such layer: then it is of another model."""
        for layer in self.layers:
            if layer.layer == index:
                return layer
        raise FailedPrecondition(f"the plan says nothing of layer {index}; plan again for this model", reason=MISMATCH)

    def to_json(self) -> bytes:
        document = {"schema_version": 1, **asdict(self)}
        return json.dumps(document, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> BalancePlan:
        """What `to_json` wrote; DataLoss where it is damaged."""
        try:
            document: Mapping[str, Any] = json.loads(data)
            return cls(
                model=document["model"],
                policy=document["policy"],
                exact=document["exact"],
                bits=tuple(document["bits"]),
                target_load_imbalance=document["target_load_imbalance"],
                budget_bytes=document["budget_bytes"],
                notes=tuple(document["notes"]),
                layers=tuple(
                    LayerPlan(**{key: _tupled(value) for key, value in entry.items()}) for entry in document["layers"]
                ),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataLoss("the plan cannot be read; plan again") from error


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
