"""Speculation over sparse caches: the tokens of sparse greedy decoding, whatever is drafted and taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from unit.inference_optimizer.early_exit.conftest import CHOICES, SPARSE

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.early_exit import speculative
from assay_inference_optimizer.core.early_exit.draft_length import DraftLength
from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.speculative import Accepted, speculate
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig

NEW = 26  # two blocks are begun while decoding


class AlwaysDraft(DraftLength):
    """As many as allowed, however bad: every kind of rejection occurs."""

    def probe(self, drafted: int, room: int) -> bool:
        return drafted < min(self.most, room)

    def spend(self, confidence: float) -> bool:
        return True


@pytest.fixture
def always_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "DraftLength", AlwaysDraft)


def plain(model: PreTrainedModel, ids: Tensor, sparse: SparseConfig) -> tuple[list[int], SparseCache]:
    cache = SparseCache(model.config, sparse)
    return [token for token, _ in greedy(model, ids, NEW, cancel=CancelToken(), cache=cache)], cache


def speculated(
    model: PreTrainedModel, ids: Tensor, sparse: SparseConfig, exit_layer: int, **options: object
) -> tuple[list[int], list[Accepted], SparseCache]:
    cache = SparseCache(model.config, sparse, rollback_tokens=128)
    rounds = list(
        speculate(model, ids, exit_layer, NEW, draft_tokens=5, cancel=CancelToken(), cache=cache, **options)  # type: ignore[arg-type]
    )
    return [token for each in rounds for token in each.tokens], rounds, cache


@torch.no_grad()
def by_the_models_own_forward(model: PreTrainedModel, ids: Tensor, sparse: SparseConfig) -> list[int]:
    attach(model)
    cache, found = SparseCache(model.config, sparse), []
    for _ in range(NEW):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1]
        found.append(int(logits.argmax()))
        ids = torch.tensor([found[-1:]])
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_greedy_decoding_layer_by_layer_is_the_models_own(
    sharp: Callable[[str], PreTrainedModel], long_prompts: Tensor, choice: str
) -> None:
    model, sparse = sharp("llama"), CHOICES[choice]
    tokens, cache = plain(model, long_prompts[:1], sparse)
    assert tokens == by_the_models_own_forward(model, long_prompts[:1], sparse)
    assert cache.mean_density() < 0.5
    # Another model than the dense one: what follows would prove nothing.
    dense = [token for token, _ in greedy(model, long_prompts[:1], NEW, cancel=CancelToken())]
    assert tokens != dense


QUICK = [("icml", 1, 1), ("icml", 3, 1), ("v1", 1, 1), ("v1", 3, 1), *((name, 2, 1) for name in CHOICES)]
EVERY = [pytest.param(name, layer, 3, marks=pytest.mark.slow) for name in CHOICES for layer in (1, 2, 3)]


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize(("choice", "exit_layer", "rows"), [*QUICK, *EVERY])
def test_bad_drafts_over_sparse_caches_change_nothing(
    sharp: Callable[[str], PreTrainedModel], long_prompts: Tensor, choice: str, exit_layer: int, rows: int
) -> None:
    model, sparse = sharp("llama"), CHOICES[choice]
    for row in long_prompts[:rows]:
        expected, cache = plain(model, row[None], sparse)
        tokens, rounds, own = speculated(model, row[None], sparse, exit_layer)
        assert tokens == expected
        # Random weights: nearly every round had to be taken back.
        assert sum(each.accepted for each in rounds) < sum(each.drafted for each in rounds) / 2
        assert own.tokens == cache.tokens == 200 + NEW - 1


QUICKLY = [("llama", "icml", 1, 1), ("llama", "icml", 3, 1), ("qwen3_moe", "icml", 2, 1),
           ("llama", "v1", 2, 1)]  # fmt: skip
AT_LENGTH = [
    pytest.param(name, choice, layer, 8, marks=pytest.mark.slow)
    for name in ("llama", "qwen3_moe")
    for choice in ("icml", "v1")
    for layer in (1, 2, 3)
]


@pytest.mark.parametrize(("name", "choice", "exit_layer", "texts"), [*QUICKLY, *AT_LENGTH])
def test_a_trained_model_over_a_sparse_cache_drafts_and_says_the_same(
    trained_model: Callable[[str], PreTrainedModel],
    prompts: Tensor,
    name: str,
    choice: str,
    exit_layer: int,
    texts: int,
) -> None:
    model, accepted = trained_model(name), 0
    for ids in prompts[: 4 * texts].view(texts, 1, 96):
        expected, _ = plain(model, ids, CHOICES[choice])
        tokens, rounds, _ = speculated(model, ids, CHOICES[choice], exit_layer)
        assert tokens == expected
        accepted += sum(each.accepted for each in rounds)
    assert accepted > 0.05 * texts * NEW


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("choice", ["icml", "v1"])
def test_ties_are_decided_by_passes_of_one_token(
    sharp: Callable[[str], PreTrainedModel], long_prompts: Tensor, choice: str
) -> None:
    # Every position is held for tied: all is taken back to the last exact state, and read again token by token.
    model, sparse = sharp("llama"), CHOICES[choice]
    expected, _ = plain(model, long_prompts[:1], sparse)
    tokens, rounds, _ = speculated(model, long_prompts[:1], sparse, 2, near_tie=1e9)
    assert tokens == expected
    assert all(each.replayed for each in rounds[1:] if each.drafted)


def test_an_answer_that_cannot_be_taken_back_is_refused(
    sharp: Callable[[str], PreTrainedModel], long_prompts: Tensor
) -> None:
    model = sharp("llama")
    short = SparseCache(model.config, SPARSE, rollback_tokens=NEW - 1)
    with pytest.raises(FailedPrecondition, match="rollback_tokens"):
        next(speculate(model, long_prompts[:1], 2, NEW, cancel=CancelToken(), cache=short))
