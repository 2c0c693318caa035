"""Sparse attention that gives no numbers over a real socket: all is read again densely, which is told and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from contract.inference_optimizer.asking import SPARSE, decode, generate, request
from contract.inference_optimizer.conftest import new_id
from prometheus_client import REGISTRY
from transformers import AutoTokenizer

from assay.client.connection import Connection
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.core.sparse import sparse_layer

CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n" * 3
NATS = 1e-4
Spoil = Callable[[torch.Tensor], bool]


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("assay_inference_optimizer_dense_retries_total", {"outcome": outcome}) or 0.0


@contextmanager
def counting(answered: int, failed: int = 0) -> Iterator[None]:
    before = counted("answered"), counted("failed")
    yield
    assert (counted("answered") - before[0], counted("failed") - before[1]) == (answered, failed)


def spoil(monkeypatch: pytest.MonkeyPatch, kernel: str, when: Spoil) -> None:
    """The kernel overflows where `when` says so of its keys."""
    whole = getattr(sparse_layer, kernel)

    def spoilt(query: torch.Tensor, key: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        output, sums = whole(query, key, *arguments, **named)
        return (output * torch.nan if when(key) else output), sums

    monkeypatch.setattr(sparse_layer, kernel, spoilt)


def test_a_prompt_that_overflows_is_answered_densely(stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = generate(stub, request(trained.model, CODE, 12))
    with counting(0):
        sound = generate(stub, request(trained.model, CODE, 12, sparse=SPARSE))
    assert not sound.usage.dense_retry
    assert not dense.usage.dense_retry
    spoil(monkeypatch, "block_sparse_prefill", lambda key: True)
    with counting(1):
        answer = generate(stub, request(trained.model, CODE, 12, sparse=SPARSE))
    assert answer.usage.dense_retry
    assert answer.tokens == dense.tokens
    assert answer.nats == pytest.approx(dense.nats, abs=NATS)
    assert (answer.usage.density, len(answer.usage.layers)) == (1, 0)
    assert answer.usage.prompt_tokens == dense.usage.prompt_tokens


def test_an_answer_that_overflows_half_way_goes_on_densely_and_its_company_does_not(
    stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = generate(stub, request(trained.model, CODE, 20, sparse=SPARSE))
    other = generate(stub, request(trained.model, CODE[40:], 20, sparse=SPARSE))
    prompt = before.usage.prompt_tokens
    assert other.usage.prompt_tokens + 20 < prompt + 7  # its keys never are as many
    spoil(monkeypatch, "block_sparse_decode", lambda key: key.shape[2] == prompt + 7)
    with counting(1), ThreadPoolExecutor(2) as threads:
        asked = [request(trained.model, text, 20, sparse=SPARSE) for text in (CODE, CODE[40:])]
        answer, company = threads.map(lambda one: generate(stub, one), asked)
    assert (company.tokens, company.usage.dense_retry) == (other.tokens, False)
    assert answer.usage.dense_retry
    assert len(answer.tokens) == 20
    # The seventh token of the answer is read in vain, so what follows it is what dense attention says of all seven.
    assert answer.tokens[:7] == before.tokens[:7]
    ids = AutoTokenizer.from_pretrained(trained.artifacts.path(trained.model))(CODE).input_ids
    history = [*ids, *answer.tokens[:7]]
    rest = generate(stub, request(trained.model, history, 13))
    assert answer.tokens[7:] == rest.tokens
    assert answer.nats[7:] == pytest.approx(rest.nats, abs=NATS)


def test_speculation_that_overflows_goes_on_densely_without_drafts(
    stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[2])
    asked = request(trained.model, CODE, 16, sparse=SPARSE, early_exit=early_exit)
    spoil(monkeypatch, "block_sparse_prefill", lambda key: True)
    with counting(1):
        answer = generate(stub, asked)
    assert answer.usage.dense_retry
    assert answer.tokens == generate(stub, request(trained.model, CODE, 16)).tokens
    monkeypatch.undo()
    before = generate(stub, asked)
    spoil(monkeypatch, "block_sparse_decode", lambda key: key.shape[2] > before.usage.prompt_tokens + 7)
    with counting(1):
        answer = generate(stub, asked)
    # Up to eight tokens can be settled before a draft, or what verifies it, is in vain; what follows is dense.
    assert answer.usage.dense_retry
    assert answer.tokens[0] == before.tokens[0]
    ids = AutoTokenizer.from_pretrained(trained.artifacts.path(trained.model))(CODE).input_ids
    rest = generate(stub, request(trained.model, [*ids, *answer.tokens[:8]], 8))
    assert (len(answer.tokens), answer.tokens[8:]) == (16, rest.tokens)


def test_leaving_early_that_overflows_goes_on_densely_by_all_layers(
    connection: Connection, stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = api.CalibrateEarlyExitRequest(
        request_id=new_id(),
        model=trained.model,
        text=api.TextSelection(text=trained.text, sequences=40, sequence_tokens=64),
        epsilon=0.5,
        exit_layers=[2],
        rule=api.EXIT_RULE_MARGIN,
        skip_tokens=48,
        sparse=SPARSE,
    )
    found = connection.run(stub.CalibrateEarlyExit, asked, api.CalibrateEarlyExitResult)
    assert found.certified
    early_exit = api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_RISK_CONTROLLED, calibration=found.calibration)
    before = generate(stub, request(trained.model, CODE, 16, early_exit=early_exit))
    assert min(before.exits) == 2
    spoil(monkeypatch, "block_sparse_decode", lambda key: key.shape[2] > before.usage.prompt_tokens + 7)
    with counting(1):
        answer = generate(stub, request(trained.model, CODE, 16, early_exit=early_exit))
    assert answer.usage.dense_retry
    # The eighth token said is read in vain by the second layer, and what follows is the whole dense model's.
    assert (answer.tokens[:8], answer.exits[:8]) == (before.tokens[:8], before.exits[:8])
    ids = AutoTokenizer.from_pretrained(trained.artifacts.path(trained.model))(CODE).input_ids
    rest = generate(stub, request(trained.model, [*ids, *answer.tokens[:8]], 8))
    assert (answer.tokens[8:], answer.exits[8:]) == (rest.tokens, (4,) * 8)


def test_a_session_that_overflows_goes_on_densely(
    connection: Connection, stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prefill(**fields: Any) -> api.PrefillResponse:
        found: api.PrefillResponse = connection.call(stub.Prefill, api.PrefillRequest(**fields))
        return found

    dense = generate(stub, request(trained.model, CODE, 16))
    opened = prefill(model=trained.model, prompt=api.Prompt(text=CODE), sparse=SPARSE)
    spoil(monkeypatch, "block_sparse_decode", lambda key: True)
    with counting(1):
        first = decode(stub, opened.session, 6)
    assert first.usage.dense_retry
    with counting(0):  # its cache is dense by now
        second = decode(stub, opened.session, 10)
    assert not second.usage.dense_retry
    # The first token is the prompt's own, whose logits sparse attention gave; dense attention gave the others.
    assert len(first.tokens + second.tokens) == 16
    spoil(monkeypatch, "block_sparse_prefill", lambda key: True)
    with counting(1):
        opened = prefill(model=trained.model, prompt=api.Prompt(text=CODE), sparse=SPARSE)
    assert opened.dense_retry
    assert decode(stub, opened.session, 16).tokens == dense.tokens


def test_texts_that_overflow_are_scored_densely(stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = api.ScoreRequest(model=trained.model, texts=[CODE, CODE[60:]])
    dense = stub.Score(asked)
    asked.sparse.CopyFrom(SPARSE)
    longest = len(dense.scores[0].tokens)
    spoil(monkeypatch, "block_sparse_prefill", lambda key: key.shape[2] >= longest)
    with counting(1):
        found = stub.Score(asked)
    assert [score.dense_retry for score in found.scores] == [True, False]
    for told, known in zip(found.scores[0].tokens, dense.scores[0].tokens, strict=True):
        assert told.log_probability == pytest.approx(known.log_probability, abs=NATS)
