"""Scores of texts and of tokens, and what follows where sparse attention gives no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import Internal
from assay_inference_optimizer.core.generation import forward, score
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.score import Scorer
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.no_numbers import DENSE_RETRY
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig

TEXT = "import os\nreturn argv\n" * 6
SPARSE = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.5)


def spoil(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Passes over caches of that kind give no numbers."""

    def spoilt(model: Any, past: Any, *arguments: Any) -> torch.Tensor:
        logits = forward.read_all(model, past, *arguments)
        return logits * torch.nan if isinstance(past, kind) else logits

    monkeypatch.setattr(score, "read_all", spoilt)


def test_a_score_of_no_numbers_is_an_error(
    served: Callable[[str], ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, object)
    budget = CacheBudget(10**9)
    for sparse, retried in ((None, False), (SPARSE, True)):
        with pytest.raises(Internal, match="no numbers") as caught:
            Scorer(served("llama"), sparse, budget, cancel=CancelToken()).text(TEXT, "texts[0]")
        assert (DENSE_RETRY in caught.value.metadata) == retried
        assert budget.reserved_bytes == 0


def test_what_sparse_attention_has_no_numbers_for_is_read_densely(
    served: Callable[[str], ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = CacheBudget(10**9)
    dense, sparse = (Scorer(served("llama"), one, budget, cancel=CancelToken()) for one in (None, SPARSE))
    assert not sparse.text(TEXT, "texts[0]").dense_retry
    spoil(monkeypatch, SparseCache)
    found = sparse.text(TEXT, "texts[0]")
    assert found.dense_retry
    assert found.score == dense.text(TEXT, "texts[0]").score
    assert budget.reserved_bytes == 0


def test_tokens_are_read_as_they_are(served: Callable[[str], ServedModel]) -> None:
    model = served("llama")
    scorer = Scorer(model, None, CacheBudget(10**9), cancel=CancelToken())
    by_text = scorer.text(TEXT, "texts[0]").score
    marks = [] if model.begin is None else [model.begin]
    by_tokens = scorer.tokens([*marks, *by_text.tokens], "tokens[0]")
    # Behind the same begin mark they have the same log-probabilities, and the mark itself has none.
    known = by_tokens.score.log_probabilities
    assert known[0] is None
    assert known[1:] == pytest.approx(by_text.log_probabilities[1 - len(marks) :], abs=1e-5)
    assert by_tokens.text.endswith(TEXT)
    ahead = len(by_tokens.text.encode()) - len(TEXT.encode())
    moved = tuple((start - ahead, end - ahead) for start, end in by_tokens.score.byte_offsets[len(marks) :])
    assert moved == by_text.byte_offsets
