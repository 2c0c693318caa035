"""A prompt read in chunks chooses what it chooses in one go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant
from assay_inference_optimizer.core.sparse.prefill import prefill

SETTINGS = [
    {},
    {"sketch_dim": 4},
    {"variant": Variant.V1},
    {"method": Method.ONE_HOP},
    {"method": Method.ORACLE},
    {"method": Method.RANDOM},
    {"method": Method.SINK_WINDOW},
]


def read(model, ids, sparse, chosen_blocks, chunk, mask=None):
    cache = SparseCache(model.config, sparse)
    with chosen_blocks(cache) as blocks:
        logits = prefill(
            model, ids, cache, attention_mask=mask, chunk_tokens=chunk, all_logits=True, cancel=CancelToken()
        )
    return logits, blocks, cache


def test_chunks_of_64_192_and_1000_choose_the_blocks_of_one_pass(llama, text, chosen_blocks):
    # The bar: identical indices in fp32, logits within 1e-4. 1000 is no multiple of 64: its tail is carried.
    attach(llama)
    ids = text(1, 2100)
    sparse = SparseConfig(target_density=0.25, dense_layers=0)
    whole, blocks, cache = read(llama, ids, sparse, chosen_blocks, None)
    assert len(blocks) == 3 * 33
    assert cache.density()[1] == pytest.approx(0.25, abs=0.01)
    for chunk in (64, 192, 1000):
        logits, found, _ = read(llama, ids, sparse, chosen_blocks, chunk)
        assert found == blocks
        assert (logits - whole).abs().max() < 1e-4


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda changes: str(next(iter(changes.values()), "default")))
@pytest.mark.parametrize("chunk", [1, 40])
def test_every_method_is_the_same_in_chunks(llama, text, sparse, chosen_blocks, changes, chunk):
    attach(llama)
    ids = text(2, 150)
    sparse = replace(sparse, **changes)
    whole, blocks, one = read(llama, ids, sparse, chosen_blocks, None)
    logits, found, cut = read(llama, ids, sparse, chosen_blocks, chunk)
    assert found == blocks
    assert (logits - whole).abs().max() < 1e-4
    assert cut.density() == pytest.approx(one.density())


@pytest.mark.parametrize("chunk", [20, 50])
def test_rows_that_end_their_blocks_apart_are_the_same_in_chunks(llama, text, sparse, chosen_blocks, chunk):
    attach(llama)
    ids = text(3, 150)
    mask = (torch.arange(150) >= 150 - torch.tensor([150, 97, 40])[:, None]).long()
    whole, blocks, _ = read(llama, ids, sparse, chosen_blocks, None, mask)
    logits, found, _ = read(llama, ids, sparse, chosen_blocks, chunk, mask)
    assert found == blocks
    assert ((logits - whole) * mask[..., None]).abs().max() < 1e-4


def test_a_second_prompt_goes_on_where_the_first_ended(llama, text, sparse, chosen_blocks):
    attach(llama)
    ids = text(1, 208)
    whole, blocks, _ = read(llama, ids, sparse, chosen_blocks, None)
    cache = SparseCache(llama.config, sparse)
    with chosen_blocks(cache) as found:
        prefill(llama, ids[:, :96], cache, cancel=CancelToken())  # six whole blocks
        logits = prefill(llama, ids[:, 96:], cache, cancel=CancelToken())
    assert found == blocks
    assert (logits[:, -1] - whole[:, -1]).abs().max() < 1e-4


def test_the_release_s_scores_depend_on_the_cut(llama, text, sparse, chosen_blocks):
    # What causal_sketch=True mends: with scores of later blocks in every softmax, chunks choose otherwise.
    attach(llama)
    ids = text(1, 260)
    sparse = replace(sparse, causal_sketch=False)
    _, blocks, _ = read(llama, ids, sparse, chosen_blocks, None)
    _, found, _ = read(llama, ids, sparse, chosen_blocks, 64)
    assert found.keys() == blocks.keys()
    assert found != blocks


def test_bad_chunks_and_cancelling(llama, text, sparse):
    attach(llama)
    cache = SparseCache(llama.config, sparse)
    with pytest.raises(InvalidInput, match="chunk_tokens"):
        prefill(llama, text(1, 20), cache, chunk_tokens=0, cancel=CancelToken())
    with pytest.raises(InvalidInput, match="input_ids"):
        prefill(llama, text(1, 20)[:, :0], cache, cancel=CancelToken())
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        prefill(llama, text(1, 20), cache, cancel=cancel)
    assert cache.tokens == 0
