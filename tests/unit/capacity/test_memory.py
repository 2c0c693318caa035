"""What models take of a GPU."""

from __future__ import annotations

import pytest

from assay.capacity.memory import GIB, Model, memory_fit
from assay.errors import InvalidInput

FOX = Model("fox-1", 1.67e9, layers=32, kv_heads=4, head_dim=128)


def test_fox_takes_what_its_readme_gives() -> None:
    # services/inference_optimizer/README.md: 3.10 GiB of weights, 256 MiB for 4,096 tokens.
    assert FOX.weight_bytes / GIB == pytest.approx(3.10, abs=0.02)
    assert FOX.kv_bytes_per_token * 4096 == 256 * 2**20


def test_smaller_numbers_take_less() -> None:
    small = Model("fox-1", 1.67e9, 32, 4, 128, dtype="int4", kv_dtype="int8")
    assert small.weight_bytes == FOX.weight_bytes / 4
    assert small.kv_bytes_per_token == FOX.kv_bytes_per_token / 2


def test_sequences_fill_what_the_weights_leave() -> None:
    # 24 GiB * 0.9 - 2 = 19.6 GiB, less 3.11 GiB of weights: 16.49 GiB, at 256 MiB each 65.
    fit = memory_fit(FOX, gpus=1, gpu_bytes=24 * GIB, usable=0.9, reserve_bytes=2 * GIB, tokens=4096)
    assert fit.room == 65
    both = memory_fit(FOX, gpus=2, gpu_bytes=24 * GIB, usable=0.9, reserve_bytes=2 * GIB, tokens=4096)
    assert both.room == 65 + int(19.6 * 4) + 1  # 78.4 more, and the parts left over make one


def test_what_does_not_fit_says_by_how_much() -> None:
    with pytest.raises(InvalidInput, match=r"gpus: 1 x 4 GiB leave 1.6 GiB, and fox-1 takes 3.1 GiB .* more GPUs"):
        memory_fit(FOX, gpus=1, gpu_bytes=4 * GIB, usable=0.9, reserve_bytes=2 * GIB, tokens=4096)


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"models.m.kv_dtype: is 'fp8'; one of bfloat16, float16"):
        Model("m", 1, 1, 1, 1, kv_dtype="fp8")
