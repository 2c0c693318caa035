"""Taking tokens back, and choosing rows: afterwards the cache is what it would be had it never known better."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method, Variant
from assay_inference_optimizer.core.sparse.prefill import prefill

CHANGES = [{}, {"variant": Variant.V1, "sketch_dim": 4}, {"method": Method.ORACLE}]


def history(model, sparse, ids, prompt, **options):
    """A cache that has read `prompt` tokens at once and decoded the others."""
    cache = SparseCache(model.config, sparse, **options)
    prefill(model, ids[:, :prompt], cache, cancel=CancelToken())
    for position in range(prompt, ids.shape[1]):
        model(ids[:, position : position + 1], past_key_values=cache)
    return cache


def continuation(model, cache, ids, decoded):
    """What the cache answers to more tokens, the first of them decoded, and by which scores it chose."""
    scores = []
    with cache.watched(lambda layer, chosen: scores.append(chosen.scores)):
        parts = [model(ids[:, step : step + 1], past_key_values=cache).logits for step in range(decoded)]
        parts.append(prefill(model, ids[:, decoded:], cache, chunk_tokens=32, all_logits=True, cancel=CancelToken()))
    return torch.cat(parts, dim=1), scores


def check_cropped(model, sparse, prompt, decoded, removed, text):
    ids, more = text(2, prompt + decoded), text(2, 36, seed=2)
    kept = prompt + decoded - removed
    for then_decoded in (0, 18):
        cropped = history(model, sparse, ids, prompt)
        cropped.crop(-removed)
        assert cropped.tokens == kept
        fresh = history(model, sparse, ids[:, :kept], min(prompt, kept))
        found, found_scores = continuation(model, cropped, more, then_decoded)
        expected, expected_scores = continuation(model, fresh, more, then_decoded)
        assert len(found_scores) == len(expected_scores) >= 2
        torch.testing.assert_close(found_scores, expected_scores, rtol=0, atol=1e-5)
        assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("changes", CHANGES, ids=["icml", "v1", "oracle"])
@pytest.mark.parametrize(
    ("prompt", "decoded", "removed"),
    [(112, 0, 16), (100, 20, 5), (100, 20, 20), (100, 20, 24), (91, 40, 33)],
)
def test_a_cropped_cache_goes_on_like_one_that_never_read_further(
    llama, text, sparse, changes, prompt, decoded, removed
):
    # Back to a decoded token, to the end of the prompt, or to a block's end within it.
    attach(llama)
    check_cropped(llama, replace(sparse, **changes), prompt, decoded, removed, text)


@pytest.mark.parametrize("changes", CHANGES, ids=["icml", "v1", "oracle"])
@pytest.mark.parametrize(("prompt", "decoded", "removed"), [(110, 0, 7), (110, 0, 40), (100, 12, 27)])
def test_within_a_block_of_the_prompt_sketches_and_walk_go_back_as_well(
    llama, text, sparse, changes, prompt, decoded, removed
):
    # Only the last layer is sparse here: in a second one, keys of a block that was cut would tell that it was chosen
    # for with all of its queries.
    attach(llama)
    sparse = replace(sparse, dense_layers=2, **changes)
    check_cropped(llama, sparse, prompt, decoded, removed, text)


def test_crop_says_how_far_it_reaches_and_then_changes_nothing(llama, text, sparse):
    attach(llama)
    ids = text(1, 200)
    cache = history(llama, sparse, ids, 200, rollback_tokens=40)
    with pytest.raises(FailedPrecondition, match="takes back 40 tokens at most, not 41"):
        cache.crop(-41)
    assert cache.tokens == 200
    cache.crop(0)
    cache.crop(-40)
    assert cache.tokens == 160
    with pytest.raises(ValueError, match="above 0"):
        cache.crop(3)
    cache.crop(-160)  # everything: nothing is left to go back to
    assert cache.tokens == 0
    assert (history(llama, sparse, ids, 200).tokens, cache.density()) == (200, {0: 1.0})
    assert llama(ids, past_key_values=cache).logits.shape == (1, 200, 64)


def test_several_tokens_in_one_decoding_pass_are_steps(llama, text, sparse, chosen_blocks):
    # What verifying a draft relies on.
    attach(llama)
    ids, more = text(2, 150), text(2, 21, seed=3)
    one_by_one, at_once = (history(llama, sparse, ids, 150) for _ in range(2))
    with chosen_blocks(one_by_one) as expected_blocks:
        expected = torch.cat(
            [llama(more[:, step : step + 1], past_key_values=one_by_one).logits for step in range(21)], dim=1
        )
    with chosen_blocks(at_once) as blocks, at_once.decoding():
        found = llama(more, past_key_values=at_once).logits
    assert blocks == expected_blocks
    assert (found - expected).abs().max() < 1e-4
    assert at_once.density() == one_by_one.density()


@pytest.mark.parametrize("changes", CHANGES, ids=["icml", "v1", "oracle"])
@pytest.mark.parametrize(
    ("choose", "rows"),
    [
        (lambda cache: cache.reorder_cache(torch.tensor([2, 0, 0])), [2, 0, 0]),
        (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
        (lambda cache: cache.batch_select_indices(torch.tensor([False, True, True])), [1, 2]),
        (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
    ],
    ids=["reorder", "select", "select_mask", "repeat"],
)
def test_rows_move_with_their_sketches_and_walk(llama, text, sparse, chosen_blocks, changes, choose, rows):
    attach(llama)
    sparse = replace(sparse, **changes)
    ids, more = text(3, 124), text(1, 24, seed=2)
    mask = (torch.arange(124) >= 124 - torch.tensor([124, 80, 103])[:, None]).long()

    def read(ids, mask):
        cache = SparseCache(llama.config, sparse)
        prefill(llama, ids[:, :116], cache, attention_mask=mask[:, :116], cancel=CancelToken())
        for step in range(116, 124):
            decode(cache, ids[:, step : step + 1], mask[:, : step + 1])
        return cache

    def decode(cache, ids, mask):
        positions = mask.sum(1, keepdim=True) - 1
        return llama(ids, attention_mask=mask, position_ids=positions, past_key_values=cache).logits

    def go_on(cache, mask):
        parts = []
        for step in range(24):
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            parts.append(decode(cache, more[:, step : step + 1].expand(len(mask), 1), mask))
            if step == 15:
                cache.crop(-8)
                mask = mask[:, :-8]
        return torch.cat(parts, dim=1)

    moved = read(ids, mask)
    choose(moved)
    fresh = read(ids[rows], mask[rows])
    assert [moved.row_density(row) for row in range(len(rows))] == [fresh.row_density(row) for row in range(len(rows))]
    with chosen_blocks(moved) as blocks:
        found = go_on(moved, mask[rows])
    with chosen_blocks(fresh) as expected_blocks:
        expected = go_on(fresh, mask[rows])
    assert blocks == expected_blocks
    assert (found - expected).abs().max() < 1e-4
