"""Every family of rotary decoders whose attention goes through transformers' interface, and those that stay dense."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache

from assay.cancel import CancelToken
from assay_inference_optimizer.core.sparse.attach import attach, detach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.fallbacks import Dense
from assay_inference_optimizer.core.sparse.prefill import prefill

SPARSE = ["llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "mixtral", "olmoe", "gemma", "phi3", "gpt_neox"]
DENSE = {
    "mistral_windowed": Dense.SLIDING_WINDOW,
    "gemma2": Dense.SOFTCAP,
    "gpt_oss": Dense.ATTENTION_SINK,
    "deepseek_v3": Dense.LATENT_ATTENTION,
}


def logits(model, ids, cache):
    return model(ids, past_key_values=cache, use_cache=True).logits


@pytest.mark.parametrize("family", SPARSE)
def test_sparse_families_spend_the_density_and_equal_dense_attention_at_density_1(family, make, text, sparse):
    model, ids = make(family), text(2, 260)
    dense = logits(model, ids, DynamicCache(config=model.config))
    attach(model)
    cache = SparseCache(model.config, sparse)
    found = logits(model, ids, cache)
    assert [fallback.layer for fallback in cache.fallbacks()] == [0]
    # 17 blocks: the budget is met to within half a block of the last row, 0.5 * 16 / 130 pairs a query.
    assert {layer for layer, density in cache.density().items() if abs(density - 0.35) < 0.03} == {1, 2}
    assert (found - dense).abs().max() > 1e-3
    every_block = replace(sparse, target_density=1 - 1e-9)
    cache = SparseCache(model.config, every_block)
    assert (logits(model, ids, cache) - dense).abs().max() < 1e-4
    assert cache.density()[2] == 1.0
    assert cache.is_sparse(2)
    detach(model)


@pytest.mark.parametrize("family", DENSE)
def test_attention_that_sparsity_would_break_stays_dense_and_says_why(family, make, text, sparse):
    model, ids = make(family), text(2, 70)
    dense = logits(model, ids, DynamicCache(config=model.config))
    attach(model)
    cache = SparseCache(model.config, replace(sparse, dense_layers=0))
    assert torch.equal(logits(model, ids, cache), dense)
    reasons = {fallback.why for fallback in cache.fallbacks()}
    assert {fallback.layer for fallback in cache.fallbacks()} == set(range(3))
    assert reasons <= {DENSE[family], Dense.SLIDING_WINDOW}
    assert DENSE[family] in reasons


def test_a_model_that_alternates_windows_and_full_attention_runs_its_full_layers_sparse(make, text, sparse):
    model, ids = make("gemma3"), text(1, 260)
    attach(model)
    cache = SparseCache(model.config, replace(sparse, dense_layers=0))
    full = [layer for layer, kind in enumerate(model.config.layer_types) if kind == "full_attention"]
    logits(model, ids, cache)
    assert full == [5]
    assert list(cache.density()) == full
    assert cache.density()[5] < 0.4
    assert {fallback.why for fallback in cache.fallbacks()} == {Dense.SLIDING_WINDOW}


@pytest.mark.parametrize("family", [*SPARSE, "gemma3", "bamba"])
def test_rows_padded_on_the_left_are_what_they_are_alone(family, make, text, sparse, chosen_blocks):
    model = make(family)
    attach(model)
    sparse = replace(sparse, dense_layers=0)
    ids = text(3, 150)
    lengths = [150, 97, 131]
    mask = (torch.arange(150) >= 150 - torch.tensor(lengths)[:, None]).long()
    cache = SparseCache(model.config, sparse)
    with chosen_blocks(cache) as together:
        found = prefill(model, ids, cache, attention_mask=mask, all_logits=True, cancel=CancelToken())
    for row, length in enumerate(lengths):
        single = SparseCache(model.config, sparse)
        with chosen_blocks(single) as alone:
            logits_alone = prefill(
                model, ids[row : row + 1, 150 - length :], single, all_logits=True, cancel=CancelToken()
            )
        assert alone
        assert {place: blocks[row] for place, blocks in together.items() if place in alone} == {
            place: blocks[0] for place, blocks in alone.items()
        }
        assert (found[row, 150 - length :] - logits_alone[0]).abs().max() < 2e-4
        assert cache.row_density(row) == pytest.approx(single.density())
