"""Leaving early over a sparse cache, against all layers run for every token by itself, with attention written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from unit.inference_optimizer.early_exit.conftest import CHOICES, SPARSE

from assay.cancel import CancelToken
from assay.errors import Cancelled, FailedPrecondition, Internal
from assay_inference_optimizer.core.early_exit import risk_controlled
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.risk_controlled import Emitted, generate
from assay_inference_optimizer.core.early_exit.rules import Rule
from assay_inference_optimizer.core.sparse import sparse_layer
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import SparseConfig, Variant

Sharp = Callable[[str], PreTrainedModel]

NEW = 26  # two blocks are begun while decoding
EXITS = (1, 2, 3)


def at(
    rule: Rule, threshold: float | None, sparse: SparseConfig | None = SPARSE, exits: tuple[int, ...] = EXITS
) -> Thresholds:
    return Thresholds("m", 4, exits, rule, threshold, 0.02, 0.05, 1000, 0.0, 0.0, 0.0, sparse)


@pytest.fixture
def long_prompt(long_prompts: Tensor) -> Tensor:
    """[1, 200]"""
    return long_prompts[:1]


def run(model: PreTrainedModel, ids: Tensor, thresholds: Thresholds) -> tuple[list[Emitted], SparseCache]:
    assert thresholds.sparse is not None
    cache = SparseCache(model.config, thresholds.sparse)
    said = generate(model, ids, thresholds, NEW, cancel=CancelToken(), cache=cache)
    return [each for each in said if each is not None], cache


@contextmanager
def attention_written_out() -> Iterator[None]:
    """Every query of a layer attends to the tokens of its chosen blocks by one masked softmax."""

    def attend(query: Tensor, key: Tensor, value: Tensor, selection: Any, **options: Any) -> tuple[Tensor, None]:
        shared = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        queries, tokens = query.shape[2], key.shape[2]
        allowed = torch.zeros(queries, tokens, dtype=torch.bool)
        first = int(selection.rows.first[0])
        for row in range(queries):
            position = tokens - queries + row
            entry = position // SPARSE.block_size - first
            for block in selection.indices[0, 0, entry, : int(selection.counts[0, 0, entry])].tolist():
                allowed[row, block * SPARSE.block_size : (block + 1) * SPARSE.block_size] = True
            allowed[row, position + 1 :] = False
        logits = query @ key.transpose(2, 3) * options["scaling"]
        return torch.softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1) @ value, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_layer, "block_sparse_prefill", attend)
        patch.setattr(sparse_layer, "block_sparse_decode", attend)
        yield


class Slow:
    """All layers of every token, by the model's own forward; a token is said where its rule first lets it go."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, thresholds: Thresholds) -> None:
        attach(model)
        assert thresholds.sparse is not None
        self.cache = SparseCache(model.config, thresholds.sparse)
        self.said: list[tuple[int, int]] = []  # exit layer, token
        self.seen: list[list[float]] = []  # measures at the exits, of all tokens but the first
        with attention_written_out(), torch.no_grad():
            for step in range(NEW):
                found = model(input_ids=ids, past_key_values=self.cache, use_cache=True, output_hidden_states=True)
                hidden = [layer[0, -1] for layer in found.hidden_states]
                lens = [model.lm_head(model.model.norm(hidden[layer])) for layer in thresholds.exit_layers]
                exit_layer, logits = 4, found.logits[0, -1]
                if step:
                    self.seen.append(_measures(thresholds, hidden, lens))
                    for index, value in enumerate(self.seen[-1]):
                        if thresholds.threshold is not None and _passes(thresholds, value):
                            exit_layer, logits = thresholds.exit_layers[index], lens[index]
                            break
                self.said.append((exit_layer, int(logits.argmax())))
                ids = torch.tensor([[self.said[-1][1]]])


def _measures(thresholds: Thresholds, hidden: list[Tensor], lens: list[Tensor]) -> list[float]:
    answers, found = [int(logits.argmax()) for logits in lens], []
    for index, exit_layer in enumerate(thresholds.exit_layers):
        p = torch.softmax(lens[index], dim=-1)
        likeliest, second = p.sort(descending=True).values[:2].tolist()
        repeats = 0
        while repeats < index and answers[index - repeats - 1] == answers[index]:
            repeats += 1
        value = {
            Rule.MAX_PROBABILITY: likeliest,
            Rule.MARGIN: likeliest - second,
            Rule.ENTROPY: -float((p * p.log()).sum()),
            Rule.STATE_COSINE: float(torch.cosine_similarity(hidden[exit_layer], hidden[exit_layer - 1], dim=0)),
            Rule.PATIENCE: float(repeats),
        }
        found.append(value[thresholds.rule])
    return found


def _passes(thresholds: Thresholds, value: float) -> bool:
    assert thresholds.threshold is not None
    return value <= thresholds.threshold if thresholds.rule is Rule.ENTROPY else value >= thresholds.threshold


def middle(
    model: PreTrainedModel, ids: Tensor, rule: Rule, sparse: SparseConfig, exits: tuple[int, ...] = EXITS
) -> Any:
    """A threshold that some tokens of the model's own answer pass and others do not."""
    if rule is Rule.PATIENCE:
        return at(rule, 1.0, sparse, exits)
    seen = Slow(model, ids, at(rule, None, sparse, exits)).seen
    best = sorted(min(each) if rule is Rule.ENTROPY else max(each) for each in seen)
    # Halfway between two tokens: no measure lies on a rounding of it.
    return at(rule, (best[len(best) // 2 - 1] + best[len(best) // 2]) / 2, sparse, exits)


def check_like_slow(model: PreTrainedModel, ids: Tensor, thresholds: Thresholds) -> list[Emitted]:
    slow, (said, cache) = Slow(model, ids, thresholds), run(model, ids, thresholds)
    assert [(each.exit_layer, each.token) for each in said] == slow.said
    check_states(cache, slow.cache)
    return said


def check_states(found: SparseCache, expected: SparseCache) -> None:
    """Keys, values, sketches, walks and counts of every layer."""
    assert found.tokens == expected.tokens == 200 + NEW - 1
    blocks = -(-found.tokens // SPARSE.block_size)
    assert found.density() == expected.density()
    for layer in range(4):
        ours, theirs = found.layers[layer], expected.layers[layer]
        pairs = [(ours.keys, theirs.keys), (ours.values, theirs.values)]
        walk, other = getattr(ours, "_walk", None), getattr(theirs, "_walk", None)
        if walk is not None:
            pairs += [(getattr(walk, name), getattr(other, name)) for name in ("_key_open", "_query_open", "_window")]
            pairs.append((walk._keys[:, :, :blocks], other._keys[:, :, :blocks]))
            pairs.append((walk._transitions[:, :blocks, :blocks], other._transitions[:, :blocks, :blocks]))
            pairs.append((walk._recent.tensor, other._recent.tensor))
            assert walk._decoded_rows.keys() == other._decoded_rows.keys()
        for one, another in pairs:
            torch.testing.assert_close(one, another, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", list(Rule))
def test_tokens_and_caches_are_those_of_all_layers_run(sharp: Sharp, long_prompt: Tensor, rule: Rule) -> None:
    model = sharp("llama")
    said = check_like_slow(model, long_prompt, middle(model, long_prompt, rule, SPARSE))
    assert said[0].exit_layer == 4
    assert len({each.exit_layer for each in said[1:]}) > 1


@pytest.mark.parametrize("choice", ["v1", "one_hop", "oracle", "random"])
def test_however_blocks_are_chosen(sharp: Sharp, long_prompt: Tensor, choice: str) -> None:
    model, sparse = sharp("llama"), CHOICES[choice]
    said = check_like_slow(model, long_prompt, middle(model, long_prompt, Rule.MARGIN, sparse))
    assert len({each.exit_layer for each in said[1:]}) > 1


@pytest.mark.parametrize(("choice", "exits"), [("icml", (2,)), ("v1", (1, 3)), ("v1", (3,))])
def test_few_exits_and_a_mixture_of_experts(
    sharp: Sharp, long_prompt: Tensor, choice: str, exits: tuple[int, ...]
) -> None:
    model = sharp("qwen3_moe")
    check_like_slow(model, long_prompt, middle(model, long_prompt, Rule.MAX_PROBABILITY, CHOICES[choice], exits))


@pytest.mark.parametrize("choice", ["icml", "v1"])
@pytest.mark.parametrize("most", [64, 5])  # upper layers catch up at the end, or in batches now and then
def test_all_that_leave_at_the_first_layer_catch_up(
    sharp: Sharp, long_prompt: Tensor, choice: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(risk_controlled, "_MOST_WAITING", most)
    said = check_like_slow(sharp("llama"), long_prompt, at(Rule.MAX_PROBABILITY, 0.0, CHOICES[choice]))
    assert {each.exit_layer for each in said[1:]} == {1}


# Nothing was certified; a probability that none has.
@pytest.mark.parametrize(("choice", "threshold"), [("icml", None), ("v1", None), *((each, 2.0) for each in CHOICES)])
def test_who_never_leaves_says_what_sparse_greedy_decoding_says(
    sharp: Sharp, long_prompt: Tensor, choice: str, threshold: float | None
) -> None:
    model, sparse = sharp("llama"), CHOICES[choice]
    cache = SparseCache(model.config, sparse)
    expected = list(greedy(model, long_prompt, NEW, cancel=CancelToken(), cache=cache))
    said, own = run(model, long_prompt, at(Rule.MAX_PROBABILITY, threshold, sparse))
    assert [(each.token, each.log_probability) for each in said] == expected  # to the last bit
    assert {each.exit_layer for each in said} == {4}
    assert own.density() == cache.density()
    dense = [token for token, _ in greedy(model, long_prompt, NEW, cancel=CancelToken())]
    assert [each.token for each in said] != dense  # so the choice of blocks is seen


def test_a_prompt_in_pieces_is_the_same_prompt(
    sharp: Sharp, long_prompt: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sharp("llama")
    thresholds = middle(model, long_prompt, Rule.MARGIN, SPARSE)
    at_once, _ = run(model, long_prompt, thresholds)
    monkeypatch.setattr(risk_controlled, "PREFILL_TOKENS", 32)
    cancel, cache = CancelToken(), SparseCache(model.config, SPARSE)
    said = generate(model, long_prompt, thresholds, NEW, cancel=cancel, cache=cache)
    assert [next(said), next(said)] == [None, None]
    assert [each.token for each in said if each] == [each.token for each in at_once]
    said = generate(model, long_prompt, thresholds, NEW, cancel=cancel, cache=SparseCache(model.config, SPARSE))
    next(said)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(said)


def test_a_prompt_of_one_token_and_an_end(sharp: Sharp, long_prompt: Tensor) -> None:
    model = sharp("llama")
    said, cache = run(model, long_prompt[:, :1], at(Rule.MARGIN, 0.0))
    assert [each.exit_layer for each in said] == [4] + [1] * (NEW - 1)
    assert cache.tokens == NEW
    end = said[5].token
    ended = generate(
        model, long_prompt[:, :1], at(Rule.MARGIN, 0.0), NEW, eos=(end,), cancel=CancelToken(),
        cache=SparseCache(model.config, SPARSE),
    )  # fmt: skip
    tokens = [each.token for each in said]
    assert [each.token for each in ended if each] == tokens[: tokens.index(end) + 1]


def test_other_attention_than_was_calibrated_on_is_refused(sharp: Sharp, long_prompt: Tensor) -> None:
    model = sharp("llama")

    def refused(thresholds: Thresholds, sparse: SparseConfig | None) -> str:
        cache = None if sparse is None else SparseCache(model.config, sparse)
        with pytest.raises(FailedPrecondition) as caught:
            next(generate(model, long_prompt, thresholds, 1, cancel=CancelToken(), cache=cache))
        assert caught.value.reason == "CALIBRATED_ON_OTHER_SPARSE_CONFIG"
        return caught.value.message

    assert "dense attention; leave it out" in refused(at(Rule.MARGIN, 0.5, None), SPARSE)
    assert "give the settings" in refused(at(Rule.MARGIN, 0.5), None)
    other = refused(at(Rule.MARGIN, 0.5), replace(SPARSE, degree=1, target_density=0.5))
    assert other.startswith("sparse.degree: is 1, and the thresholds were calibrated at 3")


def test_thresholds_keep_the_settings_they_were_made_under() -> None:
    for sparse in (None, SPARSE, replace(SPARSE, variant=Variant.V1, layer_densities=(1.0, 0.1, 0.25, 1 / 3))):
        thresholds = at(Rule.MARGIN, 0.5, sparse)
        assert Thresholds.from_json(thresholds.to_json()) == thresholds
    # Those stored before sparse attention was calibrated on say nothing of it.
    older = at(Rule.MARGIN, 0.5, None).to_json().replace(b' "sparse": null,\n', b"")
    assert b"sparse" not in older
    assert Thresholds.from_json(older) == at(Rule.MARGIN, 0.5, None)


def test_a_model_that_computes_no_numbers_says_so(sharp: Sharp, long_prompt: Tensor) -> None:
    model = sharp("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(Internal, match="no numbers"):
        run(model, long_prompt, at(Rule.STATE_COSINE, 0.5))
