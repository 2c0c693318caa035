"""What attach changes, and what it leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache, SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

from assay.errors import FailedPrecondition, InvalidInput, Unimplemented
from assay_inference_optimizer.core.sparse import active
from assay_inference_optimizer.core.sparse.attach import attach, detach, is_attached
from assay_inference_optimizer.core.sparse.cache import SparseCache


def test_attach_changes_the_attention_implementation_alone_and_detach_puts_it_back(llama):
    before = copy.deepcopy(llama.config.to_dict())
    implementation = llama.config._attn_implementation
    attach(llama)
    attach(llama)
    assert is_attached(llama)
    assert llama.config._attn_implementation == "assay_sparse_sdpa"
    assert llama.config.to_dict() == before
    assert len(llama.model._forward_pre_hooks) == 1
    detach(llama)
    detach(llama)
    assert llama.config._attn_implementation == implementation == "sdpa"
    assert not llama.model._forward_pre_hooks
    assert not is_attached(llama)


def test_any_other_cache_runs_as_without_attach(llama, text):
    ids = text(2, 60)
    mask = torch.ones_like(ids)
    mask[1, :20] = 0
    before = [llama(ids).logits, llama(ids, attention_mask=mask, past_key_values=DynamicCache()).logits]
    attach(llama)
    after = [llama(ids).logits, llama(ids, attention_mask=mask, past_key_values=DynamicCache()).logits]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_generate_takes_the_cache(llama, text, sparse):
    ids = text(1, 300)
    attach(llama)
    cache = SparseCache(llama.config, sparse)
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    generated = llama.generate(ids, past_key_values=cache, **options)
    assert generated.shape == (1, 306)
    assert cache.tokens == 305
    assert cache.density()[2] == pytest.approx(0.35, abs=0.02)
    again = llama.generate(ids, past_key_values=SparseCache(llama.config, sparse), **options)
    assert torch.equal(generated, again)


def test_a_sparse_cache_on_a_model_that_was_not_prepared_is_refused(llama, text, sparse):
    with pytest.raises(FailedPrecondition, match=r"attach\(model\) first"):
        llama(text(1, 20), past_key_values=SparseCache(llama.config, sparse))


def test_a_pass_that_fails_leaves_no_trace(llama, text, sparse):
    attach(llama)
    cache = SparseCache(llama.config, sparse)
    holes = torch.tensor([[1, 1, 0, 1]])
    with pytest.raises(InvalidInput, match="pad rows on the left"):
        llama(text(1, 4), attention_mask=holes, past_key_values=cache)
    assert active.active() is None
    with pytest.raises(IndexError):
        llama(torch.tensor([[10_000]]), past_key_values=cache)
    assert active.active() is None


def test_masks_that_are_no_padding_are_refused(llama, text, sparse):
    attach(llama)
    ids = text(1, 20)
    with pytest.raises(Unimplemented, match="knows padding alone"):
        llama(ids, attention_mask=torch.ones(1, 1, 20, 20), past_key_values=SparseCache(llama.config, sparse))
    cache = SparseCache(llama.config, sparse)
    padded = torch.ones(1, 20, dtype=torch.long)
    padded[0, :4] = 0
    llama(ids, attention_mask=padded, past_key_values=cache)
    with pytest.raises(InvalidInput, match="is missing, and rows of the cache are padded"):
        llama(ids[:, :1], past_key_values=cache)
    with pytest.raises(InvalidInput, match="begins rows elsewhere"):
        llama(ids[:, :1], attention_mask=torch.ones(1, 21, dtype=torch.long), past_key_values=cache)
    with pytest.raises(InvalidInput, match="20 tokens in the cache"):
        llama(ids[:, :1], attention_mask=torch.ones(1, 1, dtype=torch.long), past_key_values=cache)


def test_gradients_are_refused(llama, text, sparse):
    attach(llama)
    with torch.enable_grad(), pytest.raises(FailedPrecondition, match="no backward pass"):
        llama(text(1, 80), past_key_values=SparseCache(llama.config, sparse))


def test_an_encoder_decoder_is_refused():
    config = SwitchTransformersConfig(
        vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_decoder_layers=1, num_heads=2, num_experts=2
    )
    with pytest.raises(Unimplemented, match="decoder-only"):
        attach(SwitchTransformersForConditionalGeneration(config))
