"""Text is cut into windows without loss, overlap or padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput, ResourceExhausted
from assay.models.windows import Windows, check_size, cut_windows

# One token a letter, 0 the end of a text.
LETTERS: Any = SimpleNamespace(
    eos_token_id=0, encode=lambda text, add_special_tokens: [ord(letter) - 96 for letter in text]
)
ROWS = [("abc", "x"), ("defgh", "y"), ("i", "x"), ("jklmnop", "z")]  # with ends: 4, 6, 2, 8 tokens


def test_texts_are_joined_and_cut() -> None:
    windows = cut(ROWS, 5)
    assert windows.ids.tolist() == [[1, 2, 3, 0, 4], [5, 6, 7, 8, 0], [9, 0, 10, 11, 12], [13, 14, 15, 16, 0]]
    # The text each window begins in.
    assert windows.domains == ("x", "y", "x", "z")
    assert windows.ids.dtype == torch.int64


def test_a_window_that_begins_with_a_text_belongs_to_it() -> None:
    assert cut(ROWS, 4).domains[:2] == ("x", "y")


def test_text_beyond_the_limit_is_not_read() -> None:
    rows = iter(ROWS)
    windows = cut_windows(rows, LETTERS, sequence_tokens=4, cancel=CancelToken(), max_tokens=4)
    assert windows.sequences == 1
    assert next(rows)[0] == "i"


def test_sequences_are_spread_over_the_whole_text() -> None:
    windows = Windows(torch.arange(10)[:, None], tuple("abcdefghij"))
    assert windows.spread(10).ids.flatten().tolist() == list(range(10))
    # The first of two halves, and of four quarters; the split's first ones would be 0, 1, 2, 3.
    assert windows.spread(2).ids.flatten().tolist() == [0, 5]
    assert windows.spread(4).domains == ("a", "c", "f", "h")


def test_too_little_text_says_how_much_there_is() -> None:
    with pytest.raises(InvalidInput, match="is 5, and the split holds 4; ask for at most as many") as caught:
        cut(ROWS, 5).spread(5)
    assert caught.value.violations[0].field == "text.sequences"


@pytest.mark.parametrize(("sequences", "tokens"), [(0, 5), (-1, 5), (1, 1), (1, 0)])
def test_empty_windows_are_refused(sequences: int, tokens: int) -> None:
    with pytest.raises(InvalidInput):
        check_size(sequences, tokens)


def test_too_much_is_refused() -> None:
    with pytest.raises(ResourceExhausted):
        check_size(1_000_000, 1000)


def test_tokenizing_stops_when_told() -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        cut_windows(ROWS, LETTERS, sequence_tokens=4, cancel=cancel)


def cut(rows: list[tuple[str, str]], tokens: int) -> Windows:
    return cut_windows(rows, LETTERS, sequence_tokens=tokens, cancel=CancelToken())


def test_parts_and_batches_keep_every_sequence_in_order() -> None:
    windows = Windows(torch.arange(14).view(7, 2), tuple("abcdefg"))
    assert [len(batch) for batch in windows.batches(3)] == [3, 3, 1]
    assert torch.equal(torch.cat(list(windows.batches(3))), windows.ids)
    part = windows.part(2, 5)
    assert (part.ids.tolist(), part.domains) == ([[4, 5], [6, 7], [8, 9]], ("c", "d", "e"))
