"""Experts as a plan stores them: one packed copy for each slot, unpacked where it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from assay.errors import DataLoss, InvalidInput
from assay_moe_router.core.layers import MoeLayer
from assay_moe_router.core.plan import OWN, LayerPlan
from assay_moe_router.core.quantize import QuantizedMatrix, dequantize, quantize, quantized_bytes, quantized_layout
from assay_moe_router.core.replicate_quantize import ExpertBytes
from assay_moe_router.core.sites import ExpertWeights, Site

VALUES, SCALES = "values", "scales"


def expert_bytes(layer: MoeLayer) -> ExpertBytes:
    """What an expert of this layer takes at every width, to the byte and without packing it."""
    matrices = sum(rows * columns for rows, columns in layer.matrices)
    # What the matrices do not take: biases and norms may be of a wider type.
    vectors = layer.bytes_per_expert - matrices * getattr(torch, layer.dtype).itemsize
    return ExpertBytes(
        own=layer.bytes_per_expert,
        quantized={
            bits: vectors + sum(quantized_bytes(rows, columns, bits) for rows, columns in layer.matrices)
            for bits in (8, 4)
        },
    )


def pack(site: Site, plan: LayerPlan) -> dict[str, Tensor]:
    """Tensors of all slots, named `layers.<layer>.slots.<slot>.<matrix>`; quantized ones with .values and .scales.

    Biases and norms keep their type. A replica is a copy of its own: each slot may live on another device.
    """
    packed: dict[str, Tensor] = {}
    matrices = set(site.matrices())
    for slot, (expert, bits) in enumerate(zip(plan.slot_experts, plan.slot_bits, strict=True)):
        for name, value in site.weights(expert).items():
            key = f"layers.{plan.layer}.slots.{slot}.{name}"
            if bits == OWN or name not in matrices:
                packed[key] = value.clone()
                continue
            try:
                quantized = quantize(value.T if site.transposed else value, bits)
            except InvalidInput as error:
                raise InvalidInput(
                    f"layers[{plan.layer}].experts[{expert}].{name}",
                    "holds NaN or infinity, which no scale can hold; check the model's weights",
                ) from error
            packed[f"{key}.{VALUES}"], packed[f"{key}.{SCALES}"] = quantized.values, quantized.scales
    return packed


def packed_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


class PackedExperts:
    """One layer's slots. dtype: of the computation. columns: of each matrix, because int4 rows are padded."""

    def __init__(
        self, plan: LayerPlan, tensors: Mapping[str, Tensor], layer: MoeLayer, dtype: torch.dtype = torch.float32
    ) -> None:
        self._plan, self._dtype, self._transposed = plan, dtype, layer.transposed
        self._columns = dict(zip(layer.matrix_names, (columns for _, columns in layer.matrices), strict=True))
        self._slots: list[dict[str, Tensor]] = [{} for _ in plan.slot_experts]
        prefix = f"layers.{plan.layer}.slots."
        for key, value in tensors.items():
            if key.startswith(prefix):
                slot, _, name = key.removeprefix(prefix).partition(".")
                if not slot.isdecimal() or int(slot) >= len(self._slots):
                    raise _damaged(plan, f"slot {slot} is not in the plan")
                self._slots[int(slot)][name] = value
        self._check(layer)

    def _check(self, layer: MoeLayer) -> None:
        """Raises DataLoss unless every slot holds what plan and layout say: where it computes is too late to learn."""
        own = getattr(torch, layer.dtype)
        for slot, (bits, stored) in enumerate(zip(self._plan.slot_bits, self._slots, strict=True)):
            found = {name: (tuple(value.shape), value.dtype) for name, value in stored.items()}
            for name, (rows, columns) in zip(layer.matrix_names, layer.matrices, strict=True):
                expected = {name: ((columns, rows) if self._transposed else (rows, columns), own)}
                if bits != OWN:
                    values, scales = quantized_layout(rows, columns, bits)
                    expected = {f"{name}.{VALUES}": values, f"{name}.{SCALES}": scales}
                for key, is_like in expected.items():
                    if found.pop(key, None) != is_like:
                        raise _damaged(self._plan, f"slot {slot} lacks a sound {key}")
            if sum(math.prod(shape) for shape, _ in found.values()) != layer.vector_values:
                raise _damaged(self._plan, f"slot {slot} has other biases or norms")

    def weights(self, slot: int) -> ExpertWeights:
        """The slot's parameters in `dtype`, laid out as the model's own module has them."""
        bits, stored = self._plan.slot_bits[slot], self._slots[slot]
        weights: ExpertWeights = {}
        for name, value in stored.items():
            matrix, _, part = name.rpartition(".")
            if matrix not in self._columns or part not in (VALUES, SCALES):
                weights[name] = value.to(self._dtype)
            elif part == VALUES:
                scales = stored[f"{matrix}.{SCALES}"]
                unpacked = dequantize(QuantizedMatrix(bits, value, scales, self._columns[matrix]), self._dtype)
                weights[matrix] = unpacked.T if self._transposed else unpacked
        return weights


def _damaged(plan: LayerPlan, why: str) -> DataLoss:
    return DataLoss(f"the packed experts of layer {plan.layer} are damaged: {why}; apply the plan again")
