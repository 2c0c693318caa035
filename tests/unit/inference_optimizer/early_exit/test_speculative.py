"""Speculation against greedy decoding: the same tokens, at every exit, whatever is drafted."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, Internal, InvalidInput, OutOfRange
from assay_inference_optimizer.core.early_exit import greedy as plainly
from assay_inference_optimizer.core.early_exit import speculative
from assay_inference_optimizer.core.early_exit.draft_length import DraftLength
from assay_inference_optimizer.core.early_exit.greedy import greedy
from assay_inference_optimizer.core.early_exit.speculative import Accepted, speculate

Build = Callable[..., PreTrainedModel]
Trained = Callable[[str], PreTrainedModel]


class AlwaysDraft(DraftLength):
    """As many as allowed, however bad: every kind of rejection occurs."""

    def probe(self, drafted: int, room: int) -> bool:
        return drafted < min(self.most, room)

    def spend(self, confidence: float) -> bool:
        return True


@pytest.fixture
def always_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "DraftLength", AlwaysDraft)


def plain(model: PreTrainedModel, ids: Tensor, count: int, **options: object) -> list[int]:
    return [token for token, _ in greedy(model, ids, count, cancel=CancelToken(), **options)]


def flat(rounds: list[Accepted]) -> list[int]:
    return [token for each in rounds for token in each.tokens]


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "olmoe", "mamba2"])
def test_greedy_is_what_transformers_generates(build: Build, tokens: Tensor, name: str) -> None:
    model = build(name)
    for row in tokens:
        ids = row[None]
        theirs = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, eos_token_id=None
        )
        assert plain(model, ids, 16) == theirs[0, ids.shape[1] :].tolist()


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("exit_layer", [1, 2, 3])
def test_bad_drafts_change_nothing(family: PreTrainedModel, tokens: Tensor, exit_layer: int) -> None:
    drafted = accepted = 0
    for row in tokens[:2]:
        rounds = list(speculate(family, row[None], exit_layer, 24, draft_tokens=5, cancel=CancelToken()))
        assert flat(rounds) == plain(family, row[None], 24)
        drafted += sum(each.drafted for each in rounds)
        accepted += sum(each.accepted for each in rounds)
    # Random weights: most drafts are wrong, so nearly every round had to be taken back.
    assert accepted < drafted / 2


def check_prompts(model: PreTrainedModel, prompts: Tensor, exit_layer: int, count: int) -> float:
    """Tokens against greedy decoding; returns the share of them that were drafted."""
    accepted = 0
    for row in prompts:
        rounds = list(speculate(model, row[None], exit_layer, count, draft_tokens=6, cancel=CancelToken()))
        assert flat(rounds) == plain(model, row[None], count)
        accepted += sum(each.accepted for each in rounds)
    return accepted / (len(prompts) * count)


@pytest.mark.parametrize("exit_layer", [1, 2, 3])
def test_a_trained_model_says_what_it_says_greedily(trained_model: Trained, prompts: Tensor, exit_layer: int) -> None:
    # Otherwise nothing was tried: a drafter that never drafts is lossless, too.
    assert check_prompts(trained_model("llama"), prompts[:12], exit_layer, 24) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("exit_layer", [1, 2, 3])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba2"])
def test_two_hundred_prompts_at_every_exit_layer(
    trained_model: Trained, prompts: Tensor, name: str, exit_layer: int
) -> None:
    assert len(prompts) == 200
    assert check_prompts(trained_model(name), prompts, exit_layer, 16) > 0.05


def tied(model: PreTrainedModel) -> PreTrainedModel:
    """Every token has a twin with the same row of the head: each answer is an exact tie."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        head = twin.get_output_embeddings().weight
        head[1::2] = head[::2]
    return twin


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_exact_ties_go_to_the_lowest_id(build: Build, tokens: Tensor, name: str) -> None:
    model = tied(build(name))
    rounds = list(speculate(model, tokens[:1], 2, 24, draft_tokens=4, cancel=CancelToken()))
    assert flat(rounds) == plain(model, tokens[:1], 24)
    assert all(token % 2 == 0 for token in flat(rounds))
    # Each was settled by a one-token pass: a batch's rounding may favour either twin.
    assert all(each.replayed for each in rounds[1:] if each.drafted)


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba2"])
def test_near_ties_are_decided_by_one_token_passes_bit_for_bit(build: Build, tokens: Tensor, name: str) -> None:
    # A tolerance above every gap: all positions are computed again, and log-probabilities are greedy's own bits.
    model = build(name)
    rounds = speculate(model, tokens[:1], 2, 24, draft_tokens=4, near_tie=1e9, cancel=CancelToken())
    found = [value for each in rounds for value in each.log_probabilities]
    assert found == [value for _, value in greedy(model, tokens[:1], 24, cancel=CancelToken())]


@pytest.mark.usefixtures("always_draft")
def test_half_precision_is_identical_too_at_the_price_of_passes(trained_model: Trained, prompts: Tensor) -> None:
    model = copy.deepcopy(trained_model("llama")).bfloat16()
    replayed = 0
    for row in prompts[:6]:
        for exit_layer in (1, 3):
            rounds = list(speculate(model, row[None], exit_layer, 24, draft_tokens=4, cancel=CancelToken()))
            assert flat(rounds) == plain(model, row[None], 24)
            replayed += sum(each.replayed for each in rounds)
    assert replayed > 6  # near-ties are everyday with eight bits


@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_the_end_token_ends_it_inside_a_round(trained_model: Trained, prompts: Tensor, name: str) -> None:
    model = trained_model(name)
    for row in prompts[:2]:
        whole = plain(model, row[None], 24)
        for end in set(whole[2:9]):
            rounds = list(speculate(model, row[None], 1, 24, eos=(end,), cancel=CancelToken()))
            assert flat(rounds) == whole[: whole.index(end) + 1]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_never_more_tokens_than_asked_for(trained_model: Trained, prompts: Tensor, count: int) -> None:
    model = trained_model("llama")
    assert flat(list(speculate(model, prompts[:1], 2, count, cancel=CancelToken()))) == plain(model, prompts[:1], count)


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba2"])
@pytest.mark.parametrize("closed_after", [None, 3])
def test_a_cache_goes_on_where_speculation_stopped(
    build: Build, tokens: Tensor, name: str, closed_after: int | None
) -> None:
    model = build(name)
    cache, said = DynamicCache(config=model.config), []
    rounds = speculate(model, tokens[:1], 2, 12, draft_tokens=4, cancel=CancelToken(), cache=cache)
    for index, each in enumerate(rounds):
        said += each.tokens
        if index == closed_after:
            rounds.close()
    whole = plain(model, tokens[:1], 24)
    assert said == whole[: len(said)]
    # The last token is what the cache does not know yet.
    more = plain(model, torch.tensor([said[-1:]]), 24 - len(said), cache=cache)
    assert said + more == whole


def test_log_probabilities_are_the_whole_models(trained_model: Trained, prompts: Tensor) -> None:
    model = trained_model("llama")
    rounds = list(speculate(model, prompts[:1], 1, 24, cancel=CancelToken()))
    found = torch.tensor([value for each in rounds for value in each.log_probabilities])
    expected = torch.tensor([value for _, value in greedy(model, prompts[:1], 24, cancel=CancelToken())])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_two_threads_share_a_model(trained_model: Trained, prompts: Tensor) -> None:
    model = trained_model("llama")
    expected = [plain(model, row[None], 24) for row in prompts[:8]]
    found: list[list[int]] = [[] for _ in expected]

    def work(first: int) -> None:
        for index in range(first, 8, 2):
            exit_layer = 1 + (index // 2) % 3  # the two threads are at different exits most of the time
            rounds = list(speculate(model, prompts[index][None], exit_layer, 24, cancel=CancelToken()))
            found[index] = flat(rounds)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def cancelled_after(polls: int) -> CancelToken:
    class Counting(CancelToken):
        left = polls

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                self.cancel()
            super().check()

    return Counting()


def test_cancelling_anywhere_leaves_the_model_as_it_was(trained_model: Trained, prompts: Tensor) -> None:
    model = trained_model("llama")
    config, expected = model.config.to_dict(), plain(model, prompts[:1], 12)
    for polls in range(8):
        with pytest.raises(Cancelled):
            list(speculate(model, prompts[:1], 1, 24, cancel=cancelled_after(polls)))
        assert model.config.to_dict() == config
    assert plain(model, prompts[:1], 12) == expected


@pytest.mark.usefixtures("always_draft")
@pytest.mark.parametrize("exit_layer", [1, 3])
def test_a_prompt_in_pieces_is_the_same_prompt(
    family: PreTrainedModel, tokens: Tensor, exit_layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 60 tokens in pieces of 16: three times control comes back with nothing said, then the fourth piece's token.
    ids = tokens[:5].reshape(1, -1)
    at_once = plain(family, ids, 16)
    for module in (speculative, plainly):
        monkeypatch.setattr(module, "PREFILL_TOKENS", 16)
    rounds = list(speculate(family, ids, exit_layer, 16, draft_tokens=4, cancel=CancelToken()))
    assert [len(each.tokens) for each in rounds[:4]] == [0, 0, 0, 1]
    assert flat(rounds) == plain(family, ids, 16) == at_once


def test_cancelling_ends_a_prompt_before_its_next_piece(
    build: Build, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speculative, "PREFILL_TOKENS", 16)
    model, cancel = build("llama"), CancelToken()
    cache = DynamicCache(config=model.config)
    rounds = speculate(model, tokens[:5].reshape(1, -1), 2, 4, cancel=cancel, cache=cache)
    next(rounds)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(rounds)
    assert cache.get_seq_length() == 16


@pytest.mark.parametrize("place", ["layers.0", "layers.3", "head"])
def test_a_model_that_computes_no_numbers_says_so(build: Build, tokens: Tensor, place: str) -> None:
    broken, sound = build("llama"), build("llama")
    for model in (broken, sound):
        if model is sound:  # it is spoilt after its layers were checked
            list(speculate(model, tokens[:1], 2, 4, cancel=CancelToken()))
        with torch.no_grad():
            spoilt = model.get_output_embeddings() if place == "head" else model.model.get_submodule(place).mlp.up_proj
            spoilt.weight[0, 0] = torch.nan
        for decode in (
            lambda model=model: list(speculate(model, tokens[:1], 2, 4, cancel=CancelToken())),
            lambda model=model: plain(model, tokens[:1], 4),
        ):
            with pytest.raises(Internal, match="no numbers") as caught:
                decode()
            assert caught.value.reason == "NON_FINITE"


def test_bad_requests_name_the_field(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    model = build("llama")

    def run(ids: Tensor = tokens[:1], layer: int = 2, count: int = 4, **options: int) -> Iterator[Accepted]:
        return iter(list(speculate(model, ids, layer, count, cancel=cancel, **options)))

    for field, call in {
        "exit_layer": lambda: run(layer=4),
        "max_new_tokens": lambda: run(count=0),
        "draft_tokens": lambda: run(draft_tokens=0),
        "near_tie": lambda: run(near_tie=-1),
        "input_ids": lambda: run(ids=tokens),
    }.items():
        with pytest.raises(InvalidInput, match=field):
            call()
    with pytest.raises(InvalidInput, match=r"outside 0\.\.127"):
        run(ids=torch.tensor([[1, 128]]))
    with pytest.raises(InvalidInput, match="T >= 1"):
        run(ids=torch.empty(1, 0, dtype=torch.int64))
    with pytest.raises(OutOfRange, match="268 tokens and the model reads 256"):
        run(count=256)
