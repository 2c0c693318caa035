"""The lens against its trap: transformers' last hidden state has been normed already."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import GraniteConfig, GraniteForCausalLM, PreTrainedModel

from assay.errors import FailedPrecondition, Unimplemented
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of

Build = Callable[..., PreTrainedModel]


@torch.no_grad()
def test_the_lens_at_the_last_layer_is_the_model(family: PreTrainedModel, tokens: Tensor) -> None:
    parts, hidden = parts_of(family), residuals(family, tokens)
    output = family(input_ids=tokens, use_cache=False)
    assert len(hidden) == 5
    torch.testing.assert_close(parts.logits(hidden[-1]), output.logits.float(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_norming_the_last_hidden_state_again_would_corrupt_it(build: Build, tokens: Tensor) -> None:
    model = build("llama")
    with torch.no_grad():  # a trained norm has a scale
        model.model.norm.weight.copy_(torch.linspace(0.2, 3.0, 32))
    parts, hidden = parts_of(model), residuals(model, tokens)
    output = model(input_ids=tokens, use_cache=False, output_hidden_states=True)
    for ours, theirs in zip(hidden[:-1], output.hidden_states[:-1], strict=True):
        assert torch.equal(ours, theirs)
    twice = parts.logits(output.hidden_states[-1])
    assert (twice - output.logits).abs().max() > 1.0
    assert (parts.logits(hidden[-1]) - output.logits).abs().max() < 1e-4


def test_another_threads_pass_is_not_taken_for_ours(build: Build, tokens: Tensor) -> None:
    model = build("llama", 6)
    alone = [residuals(model, ids[None]) for ids in tokens]
    together: list[list[Tensor]] = [[] for _ in tokens]

    def work(index: int) -> None:
        for _ in range(5):
            together[index] = residuals(model, tokens[index][None])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(tokens))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert len(other) == 7
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_the_lens_cannot_show_is_refused(build: Build, tokens: Tensor) -> None:
    scaled = GraniteForCausalLM(
        GraniteConfig(
            vocab_size=128,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=24,
            logits_scaling=8.0,
        )
    ).eval()
    with torch.no_grad():
        scaled.lm_head.weight.normal_(0.0, 1.0)
    with pytest.raises(Unimplemented, match="logit lens"):
        residuals(scaled, tokens)
    broken = build("llama")
    with torch.no_grad():
        broken.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(FailedPrecondition, match="not finite"):
        residuals(broken, tokens)
