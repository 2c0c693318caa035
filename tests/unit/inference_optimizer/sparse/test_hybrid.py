"""Models with recurrent layers or sliding windows beside full attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.fallbacks import Dense
from assay_inference_optimizer.core.sparse.prefill import prefill


def decoded(model, cache, ids):
    return torch.cat(
        [model(ids[:, step : step + 1], past_key_values=cache).logits for step in range(ids.shape[1])], dim=1
    )


def test_recurrent_layers_go_back_with_the_rest(make, text, sparse):
    # transformers' own crop leaves the recurrent state where it was: 12 tokens too far.
    model, ids, more = make("bamba"), text(2, 172), text(2, 30, seed=2)
    attach(model)
    sparse = replace(sparse, dense_layers=0)
    cropped, fresh = SparseCache(model.config, sparse), SparseCache(model.config, sparse)
    prefill(model, ids[:, :160], cropped, cancel=CancelToken())
    with cropped.reading():
        model(ids[:, 160:], past_key_values=cropped)
    cropped.crop(-12)
    prefill(model, ids[:, :160], fresh, cancel=CancelToken())
    assert [fallback.why for fallback in cropped.fallbacks()] == [Dense.STATE_SPACE]
    assert sorted(cropped.density()) == [1, 2]
    found, expected = decoded(model, cropped, more), decoded(model, fresh, more)
    assert (found - expected).abs().max() < 1e-4


def test_a_length_without_a_snapshot_is_refused_before_anything_moves(make, text, sparse):
    model, ids = make("bamba"), text(1, 172)
    attach(model)
    cache = SparseCache(model.config, sparse)
    prefill(model, ids[:, :160], cache, cancel=CancelToken())
    decoded(model, cache, ids[:, 160:])
    with pytest.raises(FailedPrecondition, match=r"tokens: 168, 169, 170, 171\), not to 165"):
        cache.crop(-7)
    assert cache.tokens == 172
    cache.crop(-3)
    again = decoded(model, cache, ids[:, 169:])
    expected = SparseCache(model.config, sparse)
    prefill(model, ids[:, :160], expected, cancel=CancelToken())
    assert (again - decoded(model, expected, ids[:, 160:])[:, 9:]).abs().max() < 1e-4


def test_rows_of_recurrent_layers_move_too(make, text, sparse):
    model, ids, more = make("bamba"), text(3, 160), text(1, 12, seed=2)
    attach(model)
    moved, fresh = SparseCache(model.config, sparse), SparseCache(model.config, sparse)
    prefill(model, ids, moved, cancel=CancelToken())
    moved.batch_select_indices(torch.tensor([2, 1]))
    moved.batch_repeat_interleave(2)
    prefill(model, ids[[2, 2, 1, 1]], fresh, cancel=CancelToken())
    found, expected = (decoded(model, cache, more.expand(4, 12)) for cache in (moved, fresh))
    assert (found - expected).abs().max() < 1e-4


def test_sliding_windows_keep_what_crop_needs(make, text, sparse):
    # A window of 24: transformers' layer keeps 23 keys, and could take nothing back.
    model, ids, more = make("gemma3"), text(1, 300), text(1, 20, seed=2)
    attach(model)
    cropped, fresh = (SparseCache(model.config, replace(sparse, dense_layers=0)) for _ in range(2))
    prefill(model, ids[:, :250], cropped, cancel=CancelToken())
    decoded(model, cropped, ids[:, 250:])
    cropped.crop(-45)
    prefill(model, ids[:, :250], fresh, cancel=CancelToken())
    decoded(model, fresh, ids[:, 250:255])
    assert cropped.tokens == 255
    assert (decoded(model, cropped, more) - decoded(model, fresh, more)).abs().max() < 1e-4
    held = [layer.keys.shape[2] for layer in cropped.layers]
    assert max(held[:5]) <= 23 + 128 + 20
    assert held[5] == 275


def test_a_model_without_attention_runs_as_ever(text, sparse):
    torch.manual_seed(0)
    config = Mamba2Config(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=8, num_heads=4, head_dim=8, n_groups=1
    )
    model, ids = Mamba2ForCausalLM(config).eval(), text(1, 60)
    expected = model(ids).logits
    attach(model)
    cache = SparseCache(model.config, sparse)
    first = model(ids[:, :40], cache_params=cache, use_cache=True).logits
    second = model(ids[:, 40:], cache_params=cache, use_cache=True).logits
    assert (torch.cat([first, second], dim=1) - expected).abs().max() < 1e-4
    assert {fallback.why for fallback in cache.fallbacks()} == {Dense.STATE_SPACE}
    assert cache.density() == {}
    assert cache.mean_density() == 1.0
    cache.crop(-20)
    again = model(ids[:, 40:], cache_params=cache, use_cache=True).logits
    assert (again - second).abs().max() < 1e-5
