"""Arithmetic whose sums are exact, so that their order, and with it the shape of a call, changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor

# Weights within [0, 1] on a grid of 2^-24 are float32 numbers; products of two lie on 2^-48, and a sum of such that
# stays below 32 has no more than the 53 bits of a float64.
GRID_BITS = 24


def round_to_grid(x: Tensor, bits: int) -> Tensor:
    """The nearest multiple of 2^-bits, halves to even."""
    return torch.round(x * 2.0**bits) * 2.0**-bits


def to_integers(x: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """(integers, unit): float64, x ~ integers * unit, one power of two as unit for each vector of the last dimension.

    The integers have so few bits (22 for up to 512 terms) that a dot product of `terms` of them is exact in float64.
    The relative error of a vector is below 2^-bits of its largest entry.
    """
    bits = (53 - max(1, terms - 1).bit_length()) // 2
    wide = x.to(torch.float64)
    _, exponent = torch.frexp(wide.abs().amax(-1, keepdim=True))
    exponent = exponent.to(torch.int64) - bits
    return torch.round(wide * _power_of_two(-exponent)), _power_of_two(exponent)


def _power_of_two(exponent: Tensor) -> Tensor:
    # Put together from its bits: pow() may be off by one in the last place.
    return ((exponent + 1023) << 52).view(torch.float64)
