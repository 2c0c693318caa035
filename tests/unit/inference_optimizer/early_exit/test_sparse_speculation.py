"""Speculation over sparse caches: the tokens of sparse greedy decoding, whatever is drafted and taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition, Unimplemented
from assay_inference_optimizer.core.early_exit import speculative
from assay_inference_optimizer.core.early_exit.draft_length import DraftLength
from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.speculative import Accepted, speculate
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant

SPARSE = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.4, dense_layers=1)
NEW = 26  # two blocks are begun while decoding
METHODS = [Method.SKETCH_WALK, Method.ONE_HOP, Method.ORACLE, Method.RANDOM, Method.SINK_WINDOW]


class AlwaysDraft(DraftLength):
    """As many as allowed, however bad: every kind of rejection occurs."""

    def probe(self, drafted: int, room: int) -> bool:
        return drafted < min(self.most, room)

    def spend(self, confidence: float) -> bool:
        return True


@pytest.fixture
def always_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "DraftLength", AlwaysDraft)


@pytest.fixture
def long_prompts() -> Tensor:
    """[3, 90] random ids: five blocks and a part of one."""
    return torch.randint(2, 128, (3, 90), generator=torch.Generator().manual_seed(2))


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


@pytest.mark.parametrize("method", METHODS)
def test_greedy_decoding_layer_by_layer_is_the_models_own(
    build: Callable[..., PreTrainedModel], long_prompts: Tensor, method: Method
) -> None:
    model, sparse = build("llama"), replace(SPARSE, method=method)
    tokens, cache = plain(model, long_prompts[:1], sparse)
    assert tokens == by_the_models_own_forward(model, long_prompts[:1], sparse)
    assert cache.mean_density() < 0.8
    # Another model than the dense one: what follows would prove nothing.
    dense = [token for token, _ in greedy(model, long_prompts[:1], NEW, cancel=CancelToken())]
    assert tokens != dense


QUICK = [(Method.SKETCH_WALK, 1, 1), (Method.SKETCH_WALK, 3, 1), *((method, 2, 1) for method in METHODS[1:])]
EVERY = [pytest.param(method, layer, 3, marks=pytest.mark.slow) for method in METHODS for layer in (1, 2, 3)]


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize(("method", "exit_layer", "rows"), [*QUICK, *EVERY])
def test_bad_drafts_over_sparse_caches_change_nothing(
    build: Callable[..., PreTrainedModel], long_prompts: Tensor, method: Method, exit_layer: int, rows: int
) -> None:
    model, sparse = build("llama"), replace(SPARSE, method=method)
    for row in long_prompts[:rows]:
        expected, cache = plain(model, row[None], sparse)
        tokens, rounds, own = speculated(model, row[None], sparse, exit_layer)
        assert tokens == expected
        # Random weights: nearly every round had to be taken back.
        assert sum(each.accepted for each in rounds) < sum(each.drafted for each in rounds) / 2
        assert own.tokens == cache.tokens == 90 + NEW - 1


QUICKLY = [("llama", 1, 1), ("llama", 3, 1), ("qwen3_moe", 2, 1)]
AT_LENGTH = [
    pytest.param(name, layer, 8, marks=pytest.mark.slow) for name in ("llama", "qwen3_moe") for layer in (1, 2, 3)
]


@pytest.mark.parametrize(("name", "exit_layer", "texts"), [*QUICKLY, *AT_LENGTH])
def test_a_trained_model_over_a_sparse_cache_drafts_and_says_the_same(
    trained_model: Callable[[str], PreTrainedModel], prompts: Tensor, name: str, exit_layer: int, texts: int
) -> None:
    model, accepted = trained_model(name), 0
    for ids in prompts[: 4 * texts].view(texts, 1, 96):
        expected, _ = plain(model, ids, SPARSE)
        tokens, rounds, _ = speculated(model, ids, SPARSE, exit_layer)
        assert tokens == expected
        accepted += sum(each.accepted for each in rounds)
    assert accepted > 0.05 * texts * NEW


@pytest.mark.usefixtures("always_draft")
def test_ties_are_decided_by_passes_of_one_token(build: Callable[..., PreTrainedModel], long_prompts: Tensor) -> None:
    # Every position is held for tied: all is taken back to the last exact state, and read again token by token.
    model = build("llama")
    expected, _ = plain(model, long_prompts[:1], SPARSE)
    tokens, rounds, _ = speculated(model, long_prompts[:1], SPARSE, 2, near_tie=1e9)
    assert tokens == expected
    assert all(each.replayed for each in rounds[1:] if each.drafted)


def test_what_cannot_be_drafted_over_is_said(build: Callable[..., PreTrainedModel], long_prompts: Tensor) -> None:
    model = build("llama")
    with pytest.raises(Unimplemented, match="variant v1"):
        speculated(model, long_prompts[:1], replace(SPARSE, variant=Variant.V1), 2)
    short = SparseCache(model.config, SPARSE, rollback_tokens=NEW - 1)
    with pytest.raises(FailedPrecondition, match="rollback_tokens"):
        next(speculate(model, long_prompts[:1], 2, NEW, cancel=CancelToken(), cache=short))
