from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import DataLoss, InvalidInput
from assay_tom_verifier.core.sensitivity.parameter_mask import (
    INDICES,
    SUMMARY,
    MatrixMask,
    ParameterMask,
    count_of,
    largest,
    sensitive_mask,
)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
@settings(max_examples=200, deadline=None)
def test_the_largest_are_as_many_as_asked_and_of_equals_the_first(values: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(values)))
    expected = sorted(sorted(range(len(values)), key=lambda index: (-values[index], index))[:count])
    assert largest(torch.tensor(values, dtype=torch.float32), count).tolist() == expected


def test_counts_are_the_floor_of_the_number_as_written() -> None:
    # In binary 0.029 * 1000 = 28.999999999999996 and 1e-5 * 1e5 is 1.0000000000000002 or 1; as written: 29 and 1.
    assert (count_of(0.029, 1000), count_of(1e-5, 100_000), count_of(1e-5, 99_999)) == (29, 1, 0)


@pytest.mark.parametrize("share", [0.0, -1e-5, 0.11, float("nan")])
def test_shares_outside_the_range_are_refused(share: float) -> None:
    with pytest.raises(InvalidInput, match="share"):
        count_of(share, 1000)


def test_what_general_text_needs_is_left_out() -> None:
    # Top 3 of 30 each: the task's are 0, 1, 2, general text's 2, 3, 4. What remains: 0 and 1.
    task, general = torch.zeros(5, 6), torch.zeros(5, 6)
    task.view(-1)[:3] = torch.tensor([3.0, 2.0, 1.0])
    general.view(-1)[2:5] = torch.tensor([3.0, 2.0, 1.0])
    mask = sensitive_mask({"w": task}, {"w": general}, 0.1)
    assert mask.matrices["w"].indices.tolist() == [0, 1]
    assert mask.matrices["w"].dense().nonzero().tolist() == [[0, 0], [0, 1]]
    assert (mask.masked, mask.parameters) == (2, 30)


def test_masks_of_fewer_than_50_say_nothing() -> None:
    mask = ParameterMask({"w": MatrixMask(torch.arange(49), (100, 10))})
    with pytest.raises(InvalidInput, match="masks 49 of 1000 parameters; raise it until it masks 50"):
        mask.check_size()
    ParameterMask({"w": MatrixMask(torch.arange(50), (100, 10))}).check_size()


def test_a_mask_comes_back_from_its_files_and_a_damaged_one_does_not() -> None:
    mask = ParameterMask(
        {"a": MatrixMask(torch.tensor([1, 5]), (2, 3)), "b": MatrixMask(torch.empty(0, dtype=torch.int64), (4, 4))}
    )
    files = mask.to_files()
    again = ParameterMask.from_files(files)
    assert {name: each.indices.tolist() for name, each in again.matrices.items()} == {"a": [1, 5], "b": []}
    assert again.matrices["a"].shape == (2, 3)
    summary = json.loads(files[SUMMARY])
    summary["matrices"][0]["shape"] = [1, 3]  # index 5 lies beyond
    for damaged in (
        {INDICES: files[INDICES][:-1], SUMMARY: files[SUMMARY]},
        {SUMMARY: files[SUMMARY]},
        {INDICES: files[INDICES], SUMMARY: json.dumps(summary).encode()},
    ):
        with pytest.raises(DataLoss, match="scan the model again"):
            ParameterMask.from_files(damaged)
