"""Rounding errors stay within half a step, and bytes are what was said."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import InvalidInput
from assay_moe_router.core.quantize import (
    QuantizedMatrix,
    dequantize,
    int4_group,
    pack_nibbles,
    quantize,
    quantized_bytes,
    quantized_layout,
    rounded_to,
    unpack_nibbles,
)

shapes = st.tuples(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**31 - 1))


def matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * torch.rand(rows, 1, generator=generator)


@given(shapes)
@settings(max_examples=60)
def test_int8_is_off_by_half_a_step_of_its_row_at_most(shape: tuple[int, int, int]) -> None:
    weights = matrix(*shape)
    error = (dequantize(quantize(weights, 8)) - weights).abs()
    step = weights.abs().amax(dim=1, keepdim=True) / 127
    assert (error <= step * 0.5 * (1 + 1e-4)).all()


@given(shapes)
@settings(max_examples=60)
def test_int4_is_off_by_half_a_step_of_its_group_at_most(shape: tuple[int, int, int]) -> None:
    weights = matrix(*shape)
    error = (dequantize(quantize(weights, 4)) - weights).abs()
    for group in range(0, weights.shape[1], 128):
        part = weights[:, group : group + 128]
        step = part.abs().amax(dim=1, keepdim=True) / 7
        # A float16 scale is off by 2^-11 of itself (or 2^-25 near nothing), and codes reach 7 of it.
        slack = 7 * torch.maximum(step * 2**-11, torch.tensor(2.0**-25))
        assert (error[:, group : group + 128] <= step * 0.5 + slack).all()


@given(shapes, st.sampled_from([8, 4]))
@settings(max_examples=60)
def test_bytes_are_known_beforehand(shape: tuple[int, int, int], bits: int) -> None:
    quantized = quantize(matrix(*shape), bits)
    assert quantized.bytes == quantized_bytes(shape[0], shape[1], bits)


def test_bytes_of_the_papers_scale() -> None:
    # One DeepSeek-V3 expert: two 2048 x 7168 and one 7168 x 2048; 88,080,384 bytes in bf16.
    fused, down = (4096, 7168), (7168, 2048)
    assert sum(2 * rows * columns for rows, columns in (fused, down)) == 88_080_384
    assert sum(quantized_bytes(*shape, 8) for shape in (fused, down)) == 44_085_248
    assert sum(quantized_bytes(*shape, 4) for shape in (fused, down)) == 22_708_224


def test_nibbles_come_back() -> None:
    codes = torch.arange(-8, 8, dtype=torch.int8).view(2, 8)
    packed = pack_nibbles(codes)
    assert (packed.dtype, packed.shape) == (torch.uint8, (2, 4))
    assert packed[0, 0] == 0x98  # -8 low, -7 high
    assert torch.equal(unpack_nibbles(packed), codes)


def test_quantizing_twice_changes_nothing_more() -> None:
    once = dequantize(quantize(matrix(5, 200, 3), 8))
    assert torch.equal(dequantize(quantize(once, 8)), once)


def test_bfloat16_and_its_exact_float32_copy_quantize_alike() -> None:
    weights = matrix(6, 64, 4).bfloat16()
    a, b = quantize(weights, 8), quantize(weights.float(), 8)
    assert torch.equal(a.values, b.values)
    assert torch.equal(a.scales, b.scales)


@given(shapes, st.sampled_from([8, 4]), st.sampled_from([1e-44, 1e-30, 1.0, 1e30, 3e38]))
@settings(max_examples=60)
def test_what_is_finite_stays_finite(shape: tuple[int, int, int], bits: int, scale: float) -> None:
    # A half-precision scale of infinity would turn zeros into NaN.
    weights = (matrix(*shape).clamp(-1, 1) * scale).bfloat16()
    assert torch.isfinite(dequantize(quantize(weights, bits))).all()


@given(shapes, st.sampled_from([8, 4]))
@settings(max_examples=30)
def test_layouts_are_those_of_what_is_packed(shape: tuple[int, int, int], bits: int) -> None:
    quantized = quantize(matrix(*shape), bits)
    packed = tuple((tuple(value.shape), value.dtype) for value in (quantized.values, quantized.scales))
    assert packed == quantized_layout(shape[0], shape[1], bits)


def test_rows_of_zeros_stay_zero() -> None:
    for bits in (8, 4):
        assert torch.equal(dequantize(quantize(torch.zeros(3, 10), bits)), torch.zeros(3, 10))


def test_two_bits_leave_three_levels() -> None:
    rounded = rounded_to(torch.tensor([[1.0, 0.4, -0.6, -1.0]]), 2)
    assert rounded.tolist() == [[1.0, 0.0, -1.0, -1.0]]


def test_groups_of_odd_rows_are_even() -> None:
    assert [int4_group(columns) for columns in (1, 7, 127, 128, 500)] == [2, 8, 128, 128, 128]


@pytest.mark.parametrize(
    ("weights", "bits", "field"),
    [(torch.ones(2, 2), 3, "bits"), (torch.tensor([[float("nan")]]), 8, "matrix"), (torch.ones(4), 4, "matrix")],
)
def test_bad_input_is_named(weights: torch.Tensor, bits: int, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        quantize(weights, bits)
    assert caught.value.violations[0].field == field
    assert not isinstance(caught.value, QuantizedMatrix)
