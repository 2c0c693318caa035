"""What is profiled under sparse attention is what a sparse answer goes through, and what is calibrated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from unit.inference_optimizer.early_exit.conftest import CHOICES, SPARSE

from assay.cancel import CancelToken
from assay.errors import Cancelled, Internal
from assay_inference_optimizer.core.early_exit.calibrate import calibrate, prompt_losses
from assay_inference_optimizer.core.early_exit.decoded_residuals import decoded_residuals
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of
from assay_inference_optimizer.core.early_exit.profile import profile
from assay_inference_optimizer.core.early_exit.risk_controlled import generate
from assay_inference_optimizer.core.early_exit.rules import Rule
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache

Sharp = Callable[[str], PreTrainedModel]
PROMPT = 180  # of 200 tokens


@torch.no_grad()
def one_by_one(model: PreTrainedModel, ids: Tensor, prompt: int) -> tuple[list[Tensor], Tensor]:
    """Residuals and logits of the model's own forward, a pass for the prompt and one for every token after it."""
    attach(model)
    cache, hidden, logits = SparseCache(model.config, SPARSE), [], []
    for piece in (ids[:, :prompt], *ids[:, prompt:].split(1, dim=1)):
        found = model(input_ids=piece, past_key_values=cache, use_cache=True, output_hidden_states=True)
        hidden.append(found.hidden_states)
        logits.append(found.logits)
    return [torch.cat(pieces, dim=1) for pieces in zip(*hidden, strict=True)], torch.cat(logits, dim=1)


def test_residuals_are_those_of_decoding_token_by_token(
    sharp: Sharp, long_prompts: Tensor, cancel: CancelToken
) -> None:
    model = sharp("llama")
    hidden, logits = one_by_one(model, long_prompts[:1], PROMPT)
    with torch.no_grad():
        found = decoded_residuals(model, long_prompts[:1], SPARSE, PROMPT, cancel)
        for layer in range(4):  # transformers' last one is normed
            torch.testing.assert_close(found[layer], hidden[layer], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(parts_of(model).logits(found[4]), logits, rtol=1e-3, atol=1e-3)
        # Read in one go, or densely, the decoded tokens would have been others.
        read = decoded_residuals(model, long_prompts[:1], SPARSE, 200, cancel)
        dense = residuals(model, long_prompts[:1])
    for other in (read, dense):
        assert (other[4] - found[4])[:, PROMPT:].abs().max() > 0.1


@pytest.mark.parametrize("choice", ["icml", "v1"])
def test_a_profile_says_of_a_text_what_the_answer_did(
    sharp: Sharp, long_prompts: Tensor, cancel: CancelToken, choice: str
) -> None:
    model, sparse, rule = sharp("llama"), CHOICES[choice], Rule.MARGIN
    before = profile(model, [long_prompts], skip=PROMPT, sparse=sparse, cancel=cancel)
    thresholds = calibrate(before, model="m", rule=rule, epsilon=0.9, delta=0.5, sparse=sparse)
    # The threshold at which three layers are run in the mean.
    index = int(np.argmin(np.abs(before.rules[rule].depth.sum(axis=0) / before.tokens.sum() - 3)))
    thresholds = replace(thresholds, threshold=float(before.thresholds(rule)[index]))
    cache = SparseCache(model.config, sparse)
    said = [each for each in generate(model, long_prompts[:1], thresholds, 24, cancel=cancel, cache=cache) if each]
    text = torch.cat([long_prompts[0], torch.tensor([each.token for each in said[:-1]])])[None]
    found = profile(model, [text], skip=200, sparse=sparse, cancel=cancel)
    assert found.tokens.tolist() == [23]
    assert found.rules[rule].depth[0, index] == sum(each.exit_layer for each in said[1:])
    assert found.rules[rule].heads[0, index] == sum(each.heads for each in said[1:])
    assert 23 < found.rules[rule].depth[0, index] < 4 * 23
    # An answer is wrong where the whole sparse model would have said something else on this very text.
    with torch.no_grad():
        whole = parts_of(model).logits(decoded_residuals(model, text, sparse, 200, cancel)[-1])[0, 200:].argmax(dim=-1)
    wrong = sum(each.token != token for each, token in zip(said[1:], whole.tolist(), strict=True))
    assert found.rules[rule].wrong[0, index] == wrong


def test_thresholds_are_those_of_the_sparse_model(
    trained_model: Callable[[str], PreTrainedModel], prompts: Tensor, cancel: CancelToken
) -> None:
    model, ids = trained_model("llama"), prompts.view(50, 96)[:12]
    found = profile(model, ids.split(8), skip=48, sparse=SPARSE, cancel=cancel)
    dense = profile(model, ids.split(8), skip=48, cancel=cancel)
    assert found.tokens.tolist() == [48] * 12
    assert not np.array_equal(found.rules[Rule.MARGIN].wrong, dense.rules[Rule.MARGIN].wrong)
    thresholds = calibrate(found, model="m", rule=Rule.MARGIN, epsilon=0.5, delta=0.1, sparse=SPARSE)
    assert thresholds.sparse == SPARSE
    assert thresholds.threshold is not None
    index = found.thresholds(Rule.MARGIN).tolist().index(thresholds.threshold)
    assert thresholds.risk == pytest.approx(prompt_losses(found, Rule.MARGIN)[:, index].mean())
    assert thresholds.risk < 0.5
    # Shards are profiled apart and put together.
    parts = [profile(model, [part], skip=48, sparse=SPARSE, cancel=cancel) for part in ids.split(8)]
    merged = type(found).merge(parts)
    for rule in Rule:
        assert np.array_equal(merged.rules[rule].wrong, found.rules[rule].wrong)


def test_no_prompt_begins_with_the_first_token(sharp: Sharp, long_prompts: Tensor, cancel: CancelToken) -> None:
    found = profile(sharp("llama"), [long_prompts[:, :40]], sparse=SPARSE, cancel=cancel)
    assert found.tokens.tolist() == [40] * 3


def test_it_is_cancelled_between_blocks_and_says_where_there_are_no_numbers(
    sharp: Sharp, long_prompts: Tensor, cancel: CancelToken
) -> None:
    model = sharp("llama")
    cancelled = CancelToken()
    cancelled.cancel()
    with pytest.raises(Cancelled), torch.no_grad():
        decoded_residuals(model, long_prompts, SPARSE, PROMPT, cancelled)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(Internal, match="no numbers"):
        profile(model, [long_prompts], skip=PROMPT, sparse=SPARSE, cancel=cancel)
