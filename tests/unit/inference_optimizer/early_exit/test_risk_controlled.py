"""Early tokens: decided as profiled, with a cache that ends as if nobody had left early."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, FailedPrecondition, Internal
from assay_inference_optimizer.core.early_exit import risk_controlled
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of
from assay_inference_optimizer.core.early_exit.risk_controlled import Emitted, generate
from assay_inference_optimizer.core.early_exit.rules import Rule, measures, patience, state_cosine

Trained = Callable[[str], PreTrainedModel]


def at(rule: Rule, threshold: float | None, exit_layers: tuple[int, ...] = (1, 2, 3)) -> Thresholds:
    return Thresholds("m", 4, exit_layers, rule, threshold, 0.02, 0.05, 1000, 0.0, 0.0, 0.0)


def run(
    model: PreTrainedModel, ids: Tensor, thresholds: Thresholds, count: int = 24, **options: object
) -> list[Emitted]:
    said = generate(model, ids, thresholds, count, cancel=CancelToken(), **options)
    return [each for each in said if each is not None]


@torch.no_grad()
def measured(model: PreTrainedModel, text: Tensor, rule: Rule, exit_layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(the rule's measure at the exits, [E, T]; answers of all layers, [L, T]) on a finished text, from the lens."""
    parts, hidden = parts_of(model), residuals(model, text)
    logits = torch.stack([parts.logits(layer[0]) for layer in hidden[1:]])
    answers, at_exits = logits.argmax(dim=-1), [layer - 1 for layer in exit_layers]
    every = {
        **{each: value[at_exits] for each, value in measures(logits.log_softmax(dim=-1)).items()},
        Rule.STATE_COSINE: torch.stack([state_cosine(hidden[layer][0], hidden[layer - 1][0]) for layer in exit_layers]),
        Rule.PATIENCE: patience(answers[at_exits]),
    }
    return every[rule], answers


def middle(model: PreTrainedModel, ids: Tensor, rule: Rule, exit_layers: tuple[int, ...] = (1, 2, 3)) -> Thresholds:
    """A threshold that some tokens of the model's own answer pass and others do not."""
    said = torch.tensor([[token for token, _ in greedy(model, ids, 24, cancel=CancelToken())]])
    value, _ = measured(model, torch.cat([ids, said], dim=1), rule, exit_layers)
    best = value[:, ids.shape[1] :].float()
    best = best.amin(dim=0) if rule is Rule.ENTROPY else best.amax(dim=0)
    low, high = best.sort().values[11:13].tolist()
    # Halfway between two tokens: no measure lies on a rounding of it.
    return at(rule, 1.0 if rule is Rule.PATIENCE else (low + high) / 2, exit_layers)


def as_profiled(model: PreTrainedModel, text: Tensor, thresholds: Thresholds) -> list[tuple[int, int]]:
    """(exit layer, token) at each position of a finished text."""
    exits = thresholds.exit_layers
    measure, answers = measured(model, text, thresholds.rule, exits)
    assert thresholds.threshold is not None
    passed = thresholds.rule.exits(measure, thresholds.threshold)
    layers = [next((exits[i] for i in range(len(exits)) if passed[i, t]), 4) for t in range(text.shape[1])]
    return [(layer, int(answers[layer - 1, t])) for t, layer in enumerate(layers)]


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_tokens_leave_where_the_profile_says(trained_model: Trained, prompts: Tensor, name: str, rule: Rule) -> None:
    # Were skipped layers filled with copies, later tokens would differ from those of the profile.
    model, seen = trained_model(name), set()
    for row in prompts[:3]:
        thresholds = middle(model, row[None], rule)
        said = run(model, row[None], thresholds)
        text = torch.cat([row, torch.tensor([each.token for each in said[:-1]])])[None]
        expected = as_profiled(model, text, thresholds)[len(row) - 1 :]
        assert [(each.exit_layer, each.token) for each in said] == expected
        seen |= {each.exit_layer for each in said}
    assert len(seen) > 1


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba2"])
@pytest.mark.parametrize("bold", [False, True])  # some leave; all leave at layer 1 and upper layers never run
def test_the_cache_ends_as_if_nobody_had_left(trained_model: Trained, prompts: Tensor, name: str, bold: bool) -> None:
    model, ids = trained_model(name), prompts[:1]
    thresholds = at(Rule.MARGIN, 0.0) if bold else middle(model, ids, Rule.MARGIN)
    cache = DynamicCache(config=model.config)
    said = run(model, ids, thresholds, cache=cache)
    text = torch.cat([ids, torch.tensor([[each.token for each in said]])], dim=1)
    with torch.no_grad():
        expected = model(input_ids=text, use_cache=False).logits[0, -1]
        option = {"cache_params" if name == "mamba2" else "past_key_values": cache}
        found = model(input_ids=text[:, -1:], use_cache=True, **option).logits[0, -1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_uncalibrated_means_no_early_exit(trained_model: Trained, prompts: Tensor, cancel: CancelToken) -> None:
    model = trained_model("llama")
    said = run(model, prompts[:1], at(Rule.MARGIN, None))
    assert [each.token for each in said] == [token for token, _ in greedy(model, prompts[:1], 24, cancel=cancel)]
    assert {(each.exit_layer, each.heads) for each in said} == {(4, 1)}


def test_the_boldest_threshold_runs_one_layer_and_one_head(trained_model: Trained, prompts: Tensor) -> None:
    model, calls = trained_model("llama"), [0] * 4
    handles = [
        layer.register_forward_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
        for index, layer in enumerate(parts_of(model).layers)
    ]
    said = run(model, prompts[:1], at(Rule.MAX_PROBABILITY, 0.0), 20)
    for handle in handles:
        handle.remove()
    assert {(each.exit_layer, each.heads) for each in said} == {(1, 1)}
    assert calls == [21, 1, 1, 1]  # the prompt, and then the first layer alone


def test_few_exits(trained_model: Trained, prompts: Tensor) -> None:
    model = trained_model("llama")
    said = run(model, prompts[:1], middle(model, prompts[:1], Rule.MAX_PROBABILITY, (2,)))
    assert {each.exit_layer for each in said} == {2, 4}
    assert {each.heads for each in said if each.exit_layer == 4} == {2}


def test_it_ends_at_the_end_token_and_when_cancelled(trained_model: Trained, prompts: Tensor) -> None:
    model = trained_model("llama")
    thresholds = middle(model, prompts[:1], Rule.MAX_PROBABILITY)
    said = [each.token for each in run(model, prompts[:1], thresholds)]
    assert [each.token for each in run(model, prompts[:1], thresholds, eos=(said[5],))] == said[
        : said.index(said[5]) + 1
    ]
    cancel = CancelToken()
    tokens = generate(model, prompts[:1], thresholds, 24, cancel=cancel)
    next(tokens)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(tokens)


@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_a_prompt_in_pieces_is_the_same_prompt(
    trained_model: Trained, prompts: Tensor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 24 tokens, 23 of them read in pieces of 10: two times nothing, then tokens.
    model, ids = trained_model(name), prompts[:1]
    thresholds = middle(model, ids, Rule.MARGIN)
    at_once = run(model, ids, thresholds)
    monkeypatch.setattr(risk_controlled, "PREFILL_TOKENS", 10)
    found = list(generate(model, ids, thresholds, 24, cancel=CancelToken()))
    assert found[:2] == [None, None]
    assert [(each.token, each.exit_layer) for each in found[2:] if each] == [
        (each.token, each.exit_layer) for each in at_once
    ]
    cancel, cache = CancelToken(), DynamicCache(config=model.config)
    said = generate(model, ids, thresholds, 24, cancel=cancel, cache=cache)
    assert next(said) is None
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(said)
    assert name == "mamba2" or cache.get_seq_length() == 10


def test_a_model_that_computes_no_numbers_says_so(trained_model: Trained, prompts: Tensor) -> None:
    model = copy.deepcopy(trained_model("llama"))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    for thresholds in (at(Rule.MARGIN, 0.5), at(Rule.STATE_COSINE, 0.5), at(Rule.MARGIN, None)):
        with pytest.raises(Internal, match="no numbers"):
            run(model, prompts[:1], thresholds)


def test_thresholds_of_another_depth_are_refused(trained_model: Trained, prompts: Tensor) -> None:
    thresholds = Thresholds("m", 6, (1, 2), Rule.MARGIN, 0.5, 0.02, 0.05, 10, 0.0, 0.0, 0.0)
    with pytest.raises(FailedPrecondition, match="6 layers, this one has 4"):
        run(trained_model("llama"), prompts[:1], thresholds)
