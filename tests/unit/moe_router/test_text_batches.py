"""Text is cut into windows without loss, overlap or padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assay.errors import InvalidInput, ResourceExhausted
from assay_moe_router.core.text_batches import Windows, cut_windows

# One token a letter, 0 the end of a text.
LETTERS: Any = SimpleNamespace(
    eos_token_id=0, encode=lambda text, add_special_tokens: [ord(letter) - 96 for letter in text]
)
ROWS = [("abc", "x"), ("defgh", "y"), ("i", "x"), ("jklmnop", "z")]  # with ends: 4, 6, 2, 8 tokens


def test_texts_are_joined_and_cut() -> None:
    windows = cut_windows(ROWS, LETTERS, sequences=4, sequence_tokens=5)
    assert windows.ids.tolist() == [[1, 2, 3, 0, 4], [5, 6, 7, 8, 0], [9, 0, 10, 11, 12], [13, 14, 15, 16, 0]]
    # The text each window begins in.
    assert windows.domains == ("x", "y", "x", "z")
    assert windows.ids.dtype == torch.int64


def test_a_window_that_begins_with_a_text_belongs_to_it() -> None:
    assert cut_windows(ROWS, LETTERS, sequences=2, sequence_tokens=4).domains == ("x", "y")


def test_one_row_more_than_needed_is_read_and_no_other() -> None:
    rows = iter(ROWS)
    cut_windows(rows, LETTERS, sequences=1, sequence_tokens=4)
    assert next(rows)[0] == "i"


def test_too_little_text_says_how_much_there_is() -> None:
    with pytest.raises(InvalidInput, match="needs 25 tokens, and the split holds 20; ask for at most 4") as caught:
        cut_windows(ROWS, LETTERS, sequences=5, sequence_tokens=5)
    assert caught.value.violations[0].field == "text.sequences"


@pytest.mark.parametrize(("sequences", "tokens"), [(0, 5), (-1, 5), (1, 1), (1, 0)])
def test_empty_windows_are_refused(sequences: int, tokens: int) -> None:
    with pytest.raises(InvalidInput):
        cut_windows(ROWS, LETTERS, sequences=sequences, sequence_tokens=tokens)


def test_too_much_is_refused_before_any_text_is_read() -> None:
    def rows() -> Any:
        raise AssertionError
        yield

    with pytest.raises(ResourceExhausted):
        cut_windows(rows(), LETTERS, sequences=1_000_000, sequence_tokens=1000)


def test_parts_and_batches_keep_every_sequence_in_order() -> None:
    windows = Windows(torch.arange(14).view(7, 2), tuple("abcdefg"))
    assert [len(batch) for batch in windows.batches(3)] == [3, 3, 1]
    assert torch.equal(torch.cat(list(windows.batches(3))), windows.ids)
    part = windows.part(2, 5)
    assert (part.ids.tolist(), part.domains) == ([[4, 5], [6, 7], [8, 9]], ("c", "d", "e"))
