"""Symmetric integer quantization of one expert's matrices, packed to the byte.

int8 keeps one float32 scale per output row; int4 one float16 scale per group of 128 inputs (the whole row where it
is shorter), two values to a byte. Both round to nearest and use no zero point, so a weight of 0 stays 0. Scales run
along the input dimension whichever way a family stores its matrices, so transposed ones are quantized transposed
and given back as they were. Biases and norms are kept as they are: they are small and act on every token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.errors import InvalidInput

GROUP = 128
BITS = (8, 4)
# Half precision cannot hold a scale below 6e-8 or above 65504; weights near either are no trained model's, and
# become 0 or are clipped.
INT4_SCALE = torch.float16
INT8_SCALE = torch.float32

TensorLayout = tuple[tuple[int, int], torch.dtype]


@dataclass(frozen=True)
class QuantizedMatrix:
    """values: [out, in] int8, or for int4 [out, groups * group / 2] uint8, low nibble first.

    scales: [out, 1] float32 for int8, [out, groups] float16 for int4. columns: in.
    """

    bits: int
    values: Tensor
    scales: Tensor
    columns: int

    @property
    def bytes(self) -> int:
        """Bytes of both tensors."""
        return sum(value.numel() * value.element_size() for value in (self.values, self.scales))


def quantize(matrix: Tensor, bits: int) -> QuantizedMatrix:
    """matrix: [out, in], any float type. Raises InvalidInput for other bits than 8 and 4, NaN and infinities."""
    if bits not in BITS:
        raise InvalidInput("bits", f"is {bits}; choose 8 or 4")
    if matrix.ndim != 2 or not torch.isfinite(matrix).all():
        raise InvalidInput("matrix", f"of shape {tuple(matrix.shape)} must be 2-D and finite")
    weights = matrix.detach().float()
    if bits == 8:
        scales = _scales(weights, 127).to(INT8_SCALE)
        return QuantizedMatrix(8, _round(weights, scales, 127), scales, matrix.shape[1])
    group = int4_group(matrix.shape[1])
    padded = F.pad(weights, (0, -matrix.shape[1] % group))
    grouped = padded.view(len(weights), -1, group)  # [out, groups, group]
    # Rounding the scale up would waste range; rounding it down clips the largest weight by half a step at most.
    scales = _scales(grouped, 7).clamp(max=torch.finfo(INT4_SCALE).max).to(INT4_SCALE)
    codes = _round(grouped, scales.float(), 7).view(len(weights), -1)
    return QuantizedMatrix(4, pack_nibbles(codes), scales.squeeze(-1), matrix.shape[1])


def dequantize(quantized: QuantizedMatrix, dtype: torch.dtype = torch.float32) -> Tensor:
    """[out, in] in `dtype`; multiplied in float32 and rounded once."""
    if quantized.bits == 8:
        return (quantized.values.float() * quantized.scales).to(dtype)
    rows, groups = quantized.scales.shape
    codes = unpack_nibbles(quantized.values).view(rows, groups, -1)
    weights = codes.float() * quantized.scales.float().unsqueeze(-1)
    return weights.view(rows, -1)[:, : quantized.columns].to(dtype)


def quantized_bytes(rows: int, columns: int, bits: int) -> int:
    """Bytes of a quantized [rows, columns] matrix with its scales, without making it."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in quantized_layout(rows, columns, bits))


def quantized_layout(rows: int, columns: int, bits: int) -> tuple[TensorLayout, TensorLayout]:
    """Shape and type of values and scales of a quantized [rows, columns] matrix."""
    if bits == 8:
        return ((rows, columns), torch.int8), ((rows, 1), INT8_SCALE)
    group = int4_group(columns)
    groups = -(-columns // group)
    return ((rows, groups * group // 2), torch.uint8), ((rows, groups), INT4_SCALE)


def int4_group(columns: int) -> int:
    """Values that share a scale: even, so that rows fill whole bytes."""
    return min(GROUP, columns + columns % 2)


def rounded_to(matrix: Tensor, bits: int) -> Tensor:
    """matrix [out, in] with one scale per row and `bits` bits a weight, unpacked: to measure damage at any width."""
    if not 2 <= bits <= 8:
        raise InvalidInput("bits", f"is {bits}; choose 2 to 8")
    top = 2 ** (bits - 1) - 1
    weights = matrix.detach().float()
    scales = _scales(weights, top)
    return (_round(weights, scales, top).float() * scales).to(matrix.dtype)


def pack_nibbles(codes: Tensor) -> Tensor:
    """[rows, 2n] int8 in -8..7 -> [rows, n] uint8, low nibble first."""
    nibbles = codes.view(torch.uint8) & 0xF
    return nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """[rows, n] uint8 -> [rows, 2n] int8 in -8..7."""
    nibbles = torch.stack([packed & 0xF, packed >> 4], dim=-1).view(len(packed), -1).view(torch.int8)
    return torch.where(nibbles > 7, nibbles - 16, nibbles)


def _scales(weights: Tensor, top: int) -> Tensor:
    return weights.abs().amax(dim=-1, keepdim=True) / top


def _round(weights: Tensor, scales: Tensor, top: int) -> Tensor:
    # A row of zeros has scale 0; any divisor keeps it zero.
    divisor = torch.where(scales == 0, 1, scales)
    return (weights / divisor).round().clamp(-top, top).to(torch.int8)
