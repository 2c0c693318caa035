"""Guessing finds one end in four; knowing finds all."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.models.windows import Windows
from assay_moe_router.core.cloze import CHOICES, _ends, cloze_accuracy

VOCABULARY = 64


class Counting(nn.Module):
    """Knows that each token is followed by the next number, or claims the one before."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        following = (input_ids + self._step) % VOCABULARY
        return SimpleNamespace(logits=20.0 * nn.functional.one_hot(following, VOCABULARY).float())


def text(ids: Tensor) -> Windows:
    return Windows(ids, ("test",) * len(ids))


@pytest.fixture
def counted() -> Windows:
    """Sequences that count up from different numbers, so that no end fits another's beginning."""
    return text((torch.arange(VOCABULARY)[:, None] + torch.arange(12)) % VOCABULARY)


def accuracy(model: Any, windows: Windows, **options: Any) -> np.ndarray:
    return cloze_accuracy(model, windows, cancel=CancelToken(), **{"continuation_tokens": 4, **options})


def test_a_model_that_knows_finds_every_end(counted: Windows) -> None:
    assert accuracy(Counting(1), counted).tolist() == [1.0] * VOCABULARY
    # One that believes the contrary finds any end as unlikely as another: ties are no recognition.
    assert accuracy(Counting(-1), counted).sum() == 0


@pytest.mark.parametrize("name", ["mixtral", "switch"])
def test_an_untrained_model_guesses(build: Callable[[str], PreTrainedModel], name: str) -> None:
    windows = text(torch.randint(2, VOCABULARY, (400, 12), generator=torch.Generator().manual_seed(4)))
    hits = accuracy(build(name), windows, batch=100)
    assert set(hits.tolist()) == {0.0, 1.0}
    # Binomial(400, 1/4): outside of 70 to 131 with odds of 1 in 2,000. Choosing among three would give 133.
    assert 70 <= hits.sum() <= 131


def test_wrong_ends_are_of_three_different_other_sequences() -> None:
    for count in (4, 5, 50):
        ends = _ends(count, np.random.default_rng(count))
        assert ends.shape == (CHOICES, count)
        # With two alike, guessing would find one in three.
        assert all(len(set(column)) == CHOICES for column in ends.T.tolist())
        assert ends[0].tolist() == list(range(count))
        assert (ends >= 0).all()
        assert (ends < count).all()
    many = _ends(2000, np.random.default_rng(0))[1:]
    distance = (many - np.arange(2000)) % 2000
    assert distance.mean() == pytest.approx(1000, abs=35)  # 4 standard errors: any other sequence is as likely


def test_only_the_end_decides(counted: Windows) -> None:
    # The beginning is the same in all four candidates; a model that scored it would not be moved by that either, but
    # ends that differ in the first half alone must not be told apart.
    ids = counted.ids.clone()
    ids[:, 6:] = torch.arange(6)
    assert accuracy(Counting(1), text(ids)).sum() == 0  # all ends alike: no end is likelier


def test_seeds_repeat(build: Callable[[str], PreTrainedModel], windows: Windows) -> None:
    model = build("mixtral")
    one = accuracy(model, windows, seed=1)
    assert np.array_equal(one, accuracy(model, windows, seed=1, batch=4))


def test_bad_requests_are_named(counted: Windows) -> None:
    with pytest.raises(InvalidInput, match=r"text\.sequences: is 3"):
        accuracy(Counting(1), counted.part(0, 3))
    for tokens in (0, 7):
        with pytest.raises(InvalidInput, match="continuation_tokens"):
            accuracy(Counting(1), counted, continuation_tokens=tokens)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        cloze_accuracy(Counting(1), counted, continuation_tokens=4, cancel=cancel)  # type: ignore[arg-type]
