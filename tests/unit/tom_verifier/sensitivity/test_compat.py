from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from assay.cancel import CancelToken
from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.compat import published_mask, published_samples, published_squares
from assay_tom_verifier.core.sensitivity.gradient_squares import Sample, gradient_squares
from assay_tom_verifier.core.sensitivity.parameter_mask import sensitive_mask
from assay_tom_verifier.core.sensitivity.samples import belief_items, belief_samples
from assay_tom_verifier.core.sensitivity.scan import scan


def test_the_published_samples_learn_the_prompts_last_word_and_ours_the_answer(
    word_tokenizer: PreTrainedTokenizerFast,
) -> None:
    items = belief_items(20, seed=0)
    for item, theirs, ours in zip(
        items, published_samples(items, word_tokenizer), belief_samples(20, 0, word_tokenizer), strict=True
    ):
        words = word_tokenizer.convert_ids_to_tokens
        assert words(theirs.ids[theirs.supervised].tolist()) == [item.prompt.split()[-1]]
        assert words(ours.ids[ours.supervised].tolist()) == [item.answer]
        assert int(ours.supervised) == len(ours.ids) - 1


def test_sums_in_float16_lose_the_small_and_keep_the_large(llama: PreTrainedModel, windows: Windows) -> None:
    samples = [Sample.whole(ids) for ids in windows.ids]
    with torch.no_grad():
        llama.model.layers[1].mlp.down_proj.weight.mul_(1e-4)  # so that what stands before it matters little
    exact = gradient_squares(llama, samples, cancel=CancelToken())
    lossy = published_squares(llama, samples, cancel=CancelToken())
    lost = kept = 0
    for name, values in exact.items():
        assert lossy[name].dtype == torch.float16
        # A gradient below 1.7e-4 has a square below half of float16's least, 5.96e-8: even six of them add up to none.
        small = (values > 0) & (values < 2.9e-8)
        large = values > 1e-2
        lost += int(small.sum())
        kept += int(large.sum())
        assert not bool(lossy[name][small].any())
        torch.testing.assert_close(lossy[name][large].float(), values[large], rtol=5e-3, atol=0)
    assert lost > 0
    assert kept > 0


def test_the_published_mask_is_one_short_and_empty_at_k_1() -> None:
    task = {"w": torch.arange(100.0).view(10, 10)}
    general = {"w": torch.arange(100.0).flip(0).view(10, 10)}
    assert (sensitive_mask(task, general, 0.05).masked, published_mask(task, general, 0.05).masked) == (5, 4)
    assert (sensitive_mask(task, general, 0.01).masked, published_mask(task, general, 0.01).masked) == (1, 0)
    # Of equals, ours takes the first k; a comparison with the threshold takes none.
    equal = {"w": torch.ones(10, 10)}
    assert published_mask(equal, general, 0.05).masked == 0
    assert sensitive_mask(equal, {"w": general["w"].flip(0).flip(1)}, 0.05).matrices["w"].indices.tolist() == list(
        range(5)
    )


def test_a_published_scan_says_so(
    llama_for_words: PreTrainedModel, word_tokenizer: PreTrainedTokenizerFast, windows: Windows
) -> None:
    options = {"samples": 4, "seed": 1, "cancel": CancelToken()}
    theirs = scan(llama_for_words, word_tokenizer, windows, published=True, **options)
    ours = scan(llama_for_words, word_tokenizer, windows, **options)
    assert {values.dtype for values in theirs.task.values()} == {torch.float16}
    assert theirs.mask(0.1).masked != ours.mask(0.1).masked
