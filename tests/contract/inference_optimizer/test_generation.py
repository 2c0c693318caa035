"""Answers over a real socket: what company they keep changes nothing, and what they end by is theirs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import torch
from contract.inference_optimizer.asking import CHOOSING, SPARSE, generate, request
from probe.serving import wait_until
from transformers import AutoTokenizer

from assay.client.connection import Connection
from assay.errors import FailedPrecondition, Internal, ResourceExhausted
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer import serving
from assay_inference_optimizer.core.generation import loop

# A batch changes a logit by float32 rounding, some 1e-6 here; another request's keys would change it by tenths.
NATS = 1e-4
CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"


@pytest.fixture(scope="module")
def tokenizer(trained: Any) -> Any:
    return AutoTokenizer.from_pretrained(trained.artifacts.path(trained.model))


@pytest.mark.parametrize("sparse", [None, SPARSE], ids=["dense", "sparse"])
def test_company_changes_no_answer(
    stub: Any, trained: Any, sparse: api.SparseConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lengths from 1 token to many blocks; greedy and sampled; some leave while others have hardly begun.
    asked = [
        request(
            trained.model, CODE * (1 + n % 5) if n else "x", 6 + 5 * n, temperature=0.8 * (n % 2), seed=n, sparse=sparse
        )
        for n in range(8)
    ]
    alone = [generate(stub, one) for one in asked]
    sizes: list[int] = []
    step = loop.step_together

    def counted(model: Any, rows: Any, tokens: Any) -> Any:
        sizes.append(len(rows))
        return step(model, rows, tokens)

    monkeypatch.setattr(loop, "step_together", counted)
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda one: generate(stub, one), asked))
    for mine, theirs in zip(alone, together, strict=True):
        assert theirs.tokens == mine.tokens
        assert theirs.nats == pytest.approx(mine.nats, abs=NATS)
        assert theirs.text == mine.text
    # They did share passes: most of the 188 tokens came from passes of several requests.
    assert max(sizes) >= 4
    assert sum(sizes) > 100


def test_tokens_come_several_a_message_and_text_with_them(stub: Any, trained: Any, tokenizer: Any) -> None:
    answer = generate(stub, request(trained.model, CODE, 200, temperature=1.5, seed=3, ignore_end=True))
    assert len(answer.tokens) == answer.usage.generated_tokens == 200
    assert answer.messages < 100
    # Hot sampling puts halves of characters side by side; the text is still that of the whole answer.
    assert answer.text == tokenizer.decode(answer.tokens)
    assert answer.finish_reason == api.FINISH_REASON_LENGTH
    assert answer.usage.prompt_tokens == len(tokenizer(CODE).input_ids)


def test_log_probabilities_are_those_of_the_score(stub: Any, trained: Any, tokenizer: Any) -> None:
    answer = generate(stub, request(trained.model, CODE, 12, temperature=0.7, seed=1, ignore_end=True))
    ids = [*tokenizer(CODE).input_ids, *answer.tokens]
    model = serving.MODELS.loaded()[-1].model
    with torch.inference_mode():
        nats = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
    expected = [float(nats[len(ids) - 13 + n, token]) for n, token in enumerate(answer.tokens)]
    assert answer.nats == pytest.approx(expected, abs=NATS)


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 1e-9}], ids=["top-k", "top-p"])
def test_one_token_to_choose_from_is_greedy(stub: Any, trained: Any, cut: dict[str, Any]) -> None:
    greedy = generate(stub, request(trained.model, CODE, 12))
    assert generate(stub, request(trained.model, CODE, 12, temperature=2.0, seed=9, **cut)).tokens == greedy.tokens


def test_a_seed_is_an_answer(stub: Any, trained: Any) -> None:
    one, again, other = (
        generate(stub, request(trained.model, CODE, 24, temperature=1.0, seed=seed)).tokens for seed in (4, 4, 5)
    )
    assert one == again != other


def test_a_stop_text_ends_an_answer_and_is_cut_off(stub: Any, trained: Any) -> None:
    whole = generate(stub, request(trained.model, CODE, 40, temperature=1.0, seed=2, ignore_end=True))
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 5]
    answer = generate(stub, request(trained.model, CODE, 40, temperature=1.0, seed=2, ignore_end=True, stop=[stop]))
    assert answer.finish_reason == api.FINISH_REASON_STOP
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert answer.tokens == whole.tokens[: len(answer.tokens)]


def test_the_end_mark_ends_an_answer(stub: Any, trained: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A greedy answer of this model never comes to an end; so its second token is made an end mark.
    second = generate(stub, request(trained.model, CODE, 4)).tokens[1]
    (served,) = [one for one in serving.MODELS.loaded() if one.digest == trained.model]
    monkeypatch.setattr(served.loop, "_ends", frozenset({second}))
    answer = generate(stub, request(trained.model, CODE, 40))
    assert answer.finish_reason == api.FINISH_REASON_END
    assert answer.tokens[-1] == second
    assert second not in answer.tokens[:-1]
    assert answer.text == tokenizer.decode(answer.tokens[:-1])


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_speculation_gives_greedy_tokens(stub: Any, trained: Any, layer: int) -> None:
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[layer], draft_tokens=4)
    greedy = generate(stub, request(trained.model, CODE, 48))
    answer = generate(stub, request(trained.model, CODE, 48, early_exit=early_exit))
    assert (answer.tokens, answer.text) == (greedy.tokens, greedy.text)
    assert answer.nats == pytest.approx(greedy.nats, abs=NATS)
    assert answer.usage.drafted_tokens >= answer.usage.accepted_tokens == answer.exits.count(layer)


@pytest.mark.parametrize(
    ("variant", "layer"), [(api.SPARSE_VARIANT_ICML, 1), (api.SPARSE_VARIANT_ICML, 3), (api.SPARSE_VARIANT_V1, 2)]
)
def test_speculation_over_sparse_attention_gives_sparse_greedy_tokens(
    stub: Any, trained: Any, variant: api.SparseVariant, layer: int
) -> None:
    sparse = api.SparseConfig()
    sparse.CopyFrom(CHOOSING)
    sparse.variant = variant
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[layer], draft_tokens=4)
    for prompt in (CODE * 4, CODE[30:] * 5):
        greedy = generate(stub, request(trained.model, prompt, 48, sparse=sparse, ignore_end=True))
        both = request(trained.model, prompt, 48, sparse=sparse, early_exit=early_exit, ignore_end=True)
        answer = generate(stub, both)
        assert (answer.tokens, answer.text) == (greedy.tokens, greedy.text)
        assert answer.nats == pytest.approx(greedy.nats, abs=NATS)
        assert answer.usage.drafted_tokens >= answer.usage.accepted_tokens == answer.exits.count(layer)
        assert len(answer.usage.layers) == 4
        # Drafts that were taken back are counted, too.
        assert answer.usage.density == pytest.approx(greedy.usage.density, abs=0.02)


def test_sparse_answers_say_how_dense_they_were(stub: Any, trained: Any) -> None:
    answer = generate(stub, request(trained.model, CODE * 8, 8, sparse=SPARSE))
    layers = {layer.layer: layer for layer in answer.usage.layers}
    assert layers[0].density == 1
    assert layers[0].fallback
    for layer in (1, 2, 3):
        # 0.4 was asked for; the budget is exact but for whole blocks.
        assert 0.38 <= layers[layer].density <= 0.45
        assert not layers[layer].fallback
    assert answer.usage.density == pytest.approx(sum(layer.density for layer in layers.values()) / 4)


def test_a_density_of_one_answers_as_dense_attention(stub: Any, trained: Any) -> None:
    full = api.SparseConfig(block_size=16, target_density=1.0, dense_layers=0)
    dense, sparse = (generate(stub, request(trained.model, CODE * 4, 16, sparse=s)) for s in (None, full))
    assert sparse.tokens == dense.tokens
    assert sparse.nats == pytest.approx(dense.nats, abs=NATS)


def test_a_conversation_takes_the_models_template(stub: Any, trained: Any) -> None:
    messages = [api.Message(role="user", content="import os")]
    asked = request(trained.other, "", 8)
    asked.prompt.CopyFrom(api.Prompt(conversation=api.Conversation(messages=messages)))
    spelt = generate(stub, request(trained.other, "[user] import os\n[assistant] ", 8))
    assert generate(stub, asked).tokens == spelt.tokens
    asked.model = trained.model
    with pytest.raises(FailedPrecondition, match="chat template"):
        generate(stub, asked)


def test_alternatives_are_the_likeliest(stub: Any, trained: Any) -> None:
    replies = stub.Generate(request(trained.model, CODE, 4, alternatives=3))
    for token in [token for reply in replies for token in reply.generated.tokens]:
        nats = [one.log_probability for one in token.alternatives]
        assert nats == sorted(nats, reverse=True)
        assert (token.alternatives[0].id, nats[0]) == (token.id, token.log_probability)


def reserved() -> int:
    return serving.SESSIONS.budget.reserved_bytes


def test_a_cancelled_answer_stops_within_a_step_and_frees_its_cache(
    stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = reserved(), [0]
    read = loop.read_tokens

    def slow(*arguments: Any) -> Any:
        steps[0] += 1
        time.sleep(0.02)
        return read(*arguments)

    monkeypatch.setattr(loop, "read_tokens", slow)
    call = stub.Generate(request(trained.model, CODE, 400, ignore_end=True))
    next(call)
    assert reserved() > before
    call.cancel()
    wait_until(lambda: reserved() == before, 2)
    stopped = steps[0]
    time.sleep(0.2)
    assert steps[0] == stopped < 100


def test_a_deadline_stops_an_answer(stub: Any, trained: Any) -> None:
    before = reserved()
    call = stub.Generate(request(trained.model, CODE, 400, temperature=1.0, ignore_end=True), timeout=0.15)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: reserved() == before, 2)


def test_an_early_exit_that_is_cancelled_frees_its_cache(stub: Any, trained: Any) -> None:
    before = reserved()
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[2])
    call = stub.Generate(request(trained.model, CODE, 400, early_exit=early_exit, ignore_end=True))
    next(call)
    call.cancel()
    wait_until(lambda: reserved() == before, 2)


def test_more_than_the_cache_budget_is_refused_before_anything_runs(
    stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.SESSIONS.budget, "limit_bytes", 100 * 512)
    with pytest.raises(ResourceExhausted, match="keys and values, and there are 51,200 in all"):
        generate(stub, request(trained.model, CODE, 300))


def test_numbers_that_are_none_end_their_own_answer_alone(
    stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, met = loop.step_together, threading.Event()

    def spoilt(model: Any, rows: Any, tokens: Any) -> Any:
        logits = step(model, rows, tokens)
        longest = max(range(len(rows)), key=lambda index: rows[index].get_seq_length())
        logits[longest] = float("nan")
        met.set()
        return logits

    monkeypatch.setattr(loop, "step_together", spoilt)
    short, long = request(trained.model, "x", 300), request(trained.model, CODE * 3, 300)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(generate, stub, one) for one in (short, long)]
        assert len(answers[0].result().tokens) == 300
        with pytest.raises(Internal, match="no numbers"):
            answers[1].result()
    assert met.is_set()


def test_models_make_room_for_each_other(
    connection: Connection, stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded() -> set[str]:
        return {model.model for model in stub.ListModels(api.ListModelsRequest()).models if model.loaded}

    for digest in loaded():  # of tests before this one
        connection.call(stub.UnloadModel, api.UnloadModelRequest(model=digest))
    first = connection.call(stub.LoadModel, api.LoadModelRequest(model=trained.model)).model
    assert (first.layers, first.context_tokens, first.cache_bytes_per_token) == (4, 512, 4 * 2 * 2 * 8 * 4)
    connection.call(stub.LoadModel, api.LoadModelRequest(model=trained.other))
    assert loaded() == {trained.model, trained.other}
    for digest in loaded():
        assert connection.call(stub.UnloadModel, api.UnloadModelRequest(model=digest)).unloaded
    assert not connection.call(stub.UnloadModel, api.UnloadModelRequest(model=trained.model)).unloaded
    monkeypatch.setattr(serving.MODELS, "limit_bytes", int(1.5 * first.bytes))
    for digest in (trained.model, trained.other, trained.model):
        generate(stub, request(digest, "x", 2))
        assert loaded() == {digest}
    monkeypatch.setattr(serving.MODELS, "limit_bytes", first.bytes // 2)
    with pytest.raises(ResourceExhausted, match="for models"):
        generate(stub, request(trained.other, "x", 2))
