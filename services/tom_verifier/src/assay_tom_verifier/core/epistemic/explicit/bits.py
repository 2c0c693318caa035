"""Sets of small whole numbers as one Python int: bit i says whether i is in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def members(bits: int) -> list[int]:
    """The numbers in a set, ascending."""
    if bits.bit_length() > 4096:
        return np.flatnonzero(as_array(bits, bits.bit_length())).tolist()
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found


def as_bits(numbers: Iterable[int], size: int) -> int:
    """The set of `numbers`, each below `size`."""
    if size > 4096:
        flags = np.zeros(size, dtype=bool)
        flags[list(numbers)] = True
        return from_array(flags)
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def as_array(bits: int, size: int) -> NDArray[np.bool_]:
    """[size] bool: element i says whether i is in."""
    data = np.frombuffer(bits.to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(data, count=size, bitorder="little").view(np.bool_)


def from_array(flags: NDArray[np.bool_]) -> int:
    """The set whose elements are the places of True in `flags` [size]."""
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
