"""One port, two adapters: a checkpoint in memory and the service give the same answers to the same questions."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from assay.cancel import CancelToken
from assay.client.connection import Connection
from assay.errors import Cancelled, DeadlineExceeded, InvalidInput, NotFound
from assay.models.language_model import FinishReason, LanguageModel
from assay.models.local import LocalLanguageModel
from assay.models.remote import RemoteLanguageModel

# Sharing a batch changes a logit by float32 rounding: 1e-4 nats is far above it, and far below a changed token.
NATS = 1e-4
PROMPTS = ["import os\n", "def main(", "class Queue:\n    def put(self, item", "", "import os\n", "x = 'Ünïcödé €'\n"]


@pytest.fixture(scope="module")
def local(trained: Any) -> LanguageModel:
    return LocalLanguageModel(trained.artifacts.path(trained.model), dtype=torch.float32)


@pytest.fixture(scope="module")
def remote(connection: Connection, trained: Any) -> LanguageModel:
    return RemoteLanguageModel(connection, trained.model)


@pytest.fixture(params=["local", "remote"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_both_generate_the_same(local: LanguageModel, remote: LanguageModel, temperature: float) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 24, "temperature": temperature, "seed": 5, "stop": ["\n\n", "return"]}
    mine, theirs = (model.generate(PROMPTS, cancel=CancelToken(), **asked) for model in (local, remote))
    for ours, its in zip(mine, theirs, strict=True):
        assert its.tokens == ours.tokens
        assert its.text == ours.text
        assert its.finish_reason is ours.finish_reason
        assert its.log_probabilities == pytest.approx(ours.log_probabilities, abs=NATS)
    if temperature:  # the same prompt asked twice is sampled twice
        assert theirs[0].tokens != theirs[4].tokens


def test_both_score_the_same(local: LanguageModel, remote: LanguageModel) -> None:
    texts = ["import os\nimport sys\n", "€", *(f"def f{n}(x):\n    return x + {n}\n" for n in range(40))]
    for ours, its in zip(
        local.score(texts, cancel=CancelToken()), remote.score(texts, cancel=CancelToken()), strict=True
    ):
        assert (its.tokens, its.byte_offsets) == (ours.tokens, ours.byte_offsets)
        known = [nats for nats in ours.log_probabilities if nats is not None]
        assert [nats for nats in its.log_probabilities if nats is not None] == pytest.approx(known, abs=NATS)
        assert (its.log_probabilities[0] is None) == (ours.log_probabilities[0] is None)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"prompts": ["a"], "max_new_tokens": 0}, "max_new_tokens"),
        ({"prompts": ["a"], "max_new_tokens": 1, "temperature": -1.0}, "temperature"),
        ({"prompts": ["a"], "max_new_tokens": 1, "stop": [""]}, "stop"),
        ({"prompts": ["a", "word " * 600], "max_new_tokens": 1}, "prompts[1]"),
        ({"prompts": ["a"], "max_new_tokens": 512}, "prompts[0]"),
    ],
)
def test_bad_input_is_named(model: LanguageModel, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        model.generate(cancel=CancelToken(), **asked)
    assert caught.value.violations[0].field == named


def test_bad_texts_are_named(model: LanguageModel) -> None:
    with pytest.raises(InvalidInput) as caught:
        model.score([*["fine"] * 20, ""], cancel=CancelToken())
    assert caught.value.violations[0].field == "texts[20]"
    with pytest.raises(InvalidInput) as caught:
        model.score(["word " * 600], cancel=CancelToken())
    assert caught.value.violations[0].field == "texts[0]"


def test_nothing_asked_is_nothing_answered(model: LanguageModel) -> None:
    assert model.generate([], max_new_tokens=1, cancel=CancelToken()) == []
    assert model.score([], cancel=CancelToken()) == []


def test_a_cancel_ends_it(model: LanguageModel) -> None:
    cancel = CancelToken()
    threading.Timer(0.15, cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        model.generate([f"{n} " for n in range(64)], max_new_tokens=480, temperature=1.0, cancel=cancel)
    assert time.monotonic() - started < 3.0  # some 25 s of work


def test_a_deadline_ends_it(model: LanguageModel) -> None:
    with pytest.raises(DeadlineExceeded):
        model.generate(["a"] * 64, max_new_tokens=480, temperature=1.0, cancel=CancelToken(time.time() + 0.2))


def test_a_model_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(NotFound):
        RemoteLanguageModel(connection, "no-such-label")


def test_a_whole_answer_ends_for_its_reason(model: LanguageModel) -> None:
    (answer,) = model.generate(["import os\n"], max_new_tokens=3, cancel=CancelToken())
    assert (answer.finish_reason, len(answer.tokens)) == (FinishReason.LENGTH, 3)
