"""The HTTP facade, asked by OpenAI's own client over a real socket: what it answers is what gRPC answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from contract.inference_optimizer.asking import SPARSE, generate, request
from google.protobuf import json_format

from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.openai_http import app
from assay_inference_optimizer.openai_http.answers import chat_logprobs

CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"
KEY = "a-key-of-the-tests"
NATS = 1e-4


@pytest.fixture(scope="module")
def base_url(trained: Any) -> Iterator[str]:
    """`assay inference-optimizer serve` in a process of its own."""
    environment = {**os.environ, "ASSAY_STORE": trained.store, "ASSAY_OPENAI_API_KEY": KEY}
    environment.pop("ASSAY_ENDPOINT", None)
    command = [Path(sys.executable).with_name("assay"), "inference-optimizer", "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", process.stdout.readline())
    assert found, process.stderr.read() if process.stderr else ""
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield found.group()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as opened:
        yield opened


def test_models_are_listed_by_label_and_digest(client: openai.OpenAI, trained: Any) -> None:
    names = {model.id for model in client.models.list()}
    assert trained.model in names
    (label,) = [name for name in names if name.startswith("zoo/llama-micro-seed0")]
    assert client.models.retrieve(label).id == label
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_completion_is_the_answer_that_grpc_gives(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    expected = generate(stub, request(trained.model, CODE, 12))
    found = client.completions.create(model=trained.model, prompt=CODE, max_tokens=12, temperature=0, logprobs=2)
    (choice,) = found.choices
    assert choice.text == expected.text
    assert choice.finish_reason == "length"
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs == pytest.approx(expected.nats, abs=NATS)
    assert "".join(choice.logprobs.tokens or []) == choice.text
    assert all(len(one) == 2 for one in choice.logprobs.top_logprobs or [])
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (expected.usage.prompt_tokens, 12)


def test_a_stream_is_the_same_answer_in_pieces(client: openai.OpenAI, trained: Any) -> None:
    asked: dict[str, Any] = {"model": trained.model, "prompt": CODE, "max_tokens": 40, "temperature": 1, "seed": 3}
    whole = client.completions.create(**asked)
    parts = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "length"
    assert parts[-1].choices == []
    assert parts[-1].usage == whole.usage
    assert len(parts) < 40


def test_a_chat_streams_and_answers(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    expected = generate(stub, request(trained.other, "[user] import os\n[assistant] ", 10))
    asked: dict[str, Any] = {
        "model": trained.other,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "import os"}]}],
        "max_completion_tokens": 10,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
    }
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == expected.text
    assert whole.choices[0].logprobs is not None
    nats = [token.logprob for token in whole.choices[0].logprobs.content or []]
    assert nats == pytest.approx(expected.nats, abs=NATS)
    parts = list(client.chat.completions.create(**asked, stream=True))
    assert parts[0].choices[0].delta.role == "assistant"
    assert "".join(part.choices[0].delta.content or "" for part in parts) == expected.text
    assert parts[-1].choices[0].finish_reason == "length"


def test_several_choices_of_several_prompts_keep_their_order(client: openai.OpenAI, trained: Any) -> None:
    asked: dict[str, Any] = {"model": trained.model, "max_tokens": 8, "temperature": 1, "seed": 7}
    found = client.completions.create(prompt=["import", CODE], n=3, **asked)
    assert [choice.index for choice in found.choices] == list(range(6))
    alone = [client.completions.create(prompt=prompt, n=3, **asked).choices for prompt in ("import", CODE)]
    assert [choice.text for choice in found.choices] == [choice.text for one in alone for choice in one]
    assert len({choice.text for choice in found.choices}) > 2


def test_an_echo_scores_the_prompt(client: openai.OpenAI, trained: Any) -> None:
    found = client.completions.create(
        model=trained.model, prompt="import os\n", max_tokens=0, echo=True, logprobs=1, temperature=0
    ).choices[0]
    assert found.text == "import os\n"
    assert found.logprobs is not None
    assert "".join(found.logprobs.tokens or []) == "import os\n"
    assert all(nats is None or nats < 0 for nats in found.logprobs.token_logprobs or [])


def test_an_echo_gives_the_likeliest_and_counts_the_prompt(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    asked: dict[str, Any] = {"model": trained.model, "prompt": CODE, "max_tokens": 0, "echo": True}
    found = client.completions.create(**asked, logprobs=3)
    (score,) = stub.Score(api.ScoreRequest(model=trained.model, texts=[CODE], alternatives=3)).scores
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    told = [one for one in logprobs.top_logprobs or [] if one]
    assert [sorted(one.values()) for one in told] == [
        pytest.approx(sorted({one.text: one.log_probability for one in token.alternatives}.values()), abs=NATS)
        for token in score.tokens
        if token.alternatives
    ]
    # The likeliest is at least as likely as what stands there, and now and then something else.
    ahead = [max(one.values()) - nats for one, nats in zip(told, logprobs.token_logprobs[-len(told) :], strict=True)]
    assert min(ahead) >= -NATS
    assert max(ahead) > 0.1
    expected = generate(stub, request(trained.model, CODE, 1)).usage.prompt_tokens
    for usage in (found.usage, client.completions.create(**asked).usage):
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (expected, 0, expected)


def test_an_echo_of_token_ids_is_that_of_their_text(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    (score,) = stub.Score(api.ScoreRequest(model=trained.model, texts=[CODE])).scores
    ids = [token.id for token in score.tokens]
    asked: dict[str, Any] = {"model": trained.model, "temperature": 0, "logprobs": 0, "echo": True, "max_tokens": 8}
    by_ids = client.completions.create(**asked, prompt=[ids, ids[:5]])
    answer = generate(stub, request(trained.model, ids, 8))
    whole, short = by_ids.choices
    assert whole.text == CODE + answer.text
    assert (CODE + answer.text).startswith(short.text[: len("".join(short.logprobs.tokens[:5]))])  # type: ignore
    logprobs = whole.logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == whole.text
    assert list(logprobs.text_offset or []) == [
        len("".join((logprobs.tokens or [])[:index])) for index in range(len(ids) + 8)
    ]
    nats = list(logprobs.token_logprobs or [])
    # Read as they are, with no begin mark: nothing precedes the first.
    assert nats[0] is None
    assert nats[len(ids) :] == pytest.approx(list(answer.nats), abs=NATS)
    assert len(nats) == len(ids) + 8
    only = client.completions.create(model=trained.model, prompt=ids, echo=True, max_tokens=0)
    assert only.choices[0].text == CODE
    assert only.usage is not None
    assert (only.usage.prompt_tokens, only.usage.completion_tokens) == (len(ids), 0)
    with pytest.raises(openai.BadRequestError, match="512"):
        client.completions.create(model=trained.model, prompt=[1, 512], echo=True, max_tokens=1)


def test_nothing_of_the_probability_is_greedy(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    found = client.completions.create(model=trained.model, prompt=CODE, max_tokens=12, temperature=2, top_p=0)
    assert found.choices[0].text == generate(stub, request(trained.model, CODE, 12)).text


def test_a_default_takes_what_the_context_leaves(client: openai.OpenAI, trained: Any) -> None:
    content = "a = 1\n" * 60
    asked: dict[str, Any] = {"model": trained.other, "messages": [{"role": "user", "content": content}], "seed": 1}
    while client.chat.completions.create(**asked, max_tokens=1).usage.prompt_tokens < 300:  # type: ignore[union-attr]
        content += "b = 2\n" * 10
        asked["messages"] = [{"role": "user", "content": content}]
    found = client.chat.completions.create(**asked, logit_bias={}, user="somebody")
    assert found.usage is not None
    assert found.usage.total_tokens == 512 or found.choices[0].finish_reason == "stop"
    with pytest.raises(openai.BadRequestError, match="512"):
        client.chat.completions.create(**asked, max_tokens=256)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"min_p": 0.1}, "min_p"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"prompt": "x"}, "prompt"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x", "name": "somebody"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"stream_options": {"every": 2}}, "stream_options.every"),
        ({"tools": [{}]}, "tools"),
    ],
)
def test_what_a_chat_cannot_honour_is_refused(
    client: openai.OpenAI, trained: Any, fields: dict[str, Any], param: str
) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=trained.other, messages=messages, extra_body=fields)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == param


def test_a_part_of_a_character_has_no_bytes_to_tell() -> None:
    tokens = [api.Token(text="é"), api.Token(text="\N{REPLACEMENT CHARACTER}")]
    assert [one["bytes"] for one in chat_logprobs(tokens)["content"]] == [[0xC3, 0xA9], None]


def test_a_client_that_leaves_before_the_first_event_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, status = [False], [0]

    class Silent:
        """A service that reads a long prompt."""

        def Generate(self, *arguments: Any, **named: Any) -> Any:  # noqa: N802
            return self

        async def __aiter__(self) -> Any:
            await asyncio.sleep(60)
            yield None

        def cancel(self) -> None:
            cancelled[0] = True

    monkeypatch.setattr(app.inference_optimizer_pb2_grpc, "InferenceOptimizerServiceStub", lambda _: Silent())
    body = json.dumps({"model": "m", "prompt": "x", "stream": True}).encode()
    coming = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return next(coming)

    async def send(message: Any) -> None:
        status[0] = message.get("status", status[0])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    served: Any = app.application(None)  # type: ignore[arg-type]
    asyncio.run(asyncio.wait_for(served(scope, receive, send), 10))
    assert cancelled == [True]
    assert status == [499]


def test_sparse_attention_can_be_asked_for(client: openai.OpenAI, trained: Any, stub: Any) -> None:
    expected = generate(stub, request(trained.model, CODE * 6, 12, sparse=SPARSE))
    found = client.completions.create(
        model=trained.model,
        prompt=CODE * 6,
        max_tokens=12,
        temperature=0,
        extra_body={"sparse": json_format.MessageToDict(SPARSE)},
    )
    assert found.choices[0].text == expected.text


@pytest.mark.parametrize(
    ("fields", "error", "param", "code"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, None, "model_not_found"),
        ({"prompt": []}, openai.BadRequestError, "prompt", None),
        ({"prompt": "word " * 600}, openai.BadRequestError, None, "context_length_exceeded"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens", None),
        ({"temperature": 3}, openai.BadRequestError, "temperature", None),
        ({"n": 0}, openai.BadRequestError, "n", None),
        ({"logprobs": 21}, openai.BadRequestError, "logprobs", None),
        ({"frequency_penalty": 0.5}, openai.BadRequestError, "frequency_penalty", "unsupported_parameter"),
        ({"extra_body": {"min_p": 0.1}}, openai.BadRequestError, "min_p", "unsupported_parameter"),
        ({"extra_body": {"messages": None}}, openai.BadRequestError, "messages", "unsupported_parameter"),
        ({"extra_body": {"sparse": {"block_size": 8}}}, openai.BadRequestError, "sparse.block_size", None),
        ({"extra_body": {"sparse": {"nonsense": 8}}}, openai.BadRequestError, "sparse", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_told_as_clients_expect(
    client: openai.OpenAI,
    trained: Any,
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    param: str | None,
    code: str | None,
    stream: bool,
) -> None:
    asked = {"model": trained.model, "prompt": "import os", "max_tokens": 4, "stream": stream, **fields}
    with pytest.raises(error) as caught:
        client.completions.create(**asked)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == param
    assert caught.value.body["message"]
    if code:
        assert caught.value.body["code"] == code


def test_a_model_without_a_template_is_told(client: openai.OpenAI, trained: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="chat template"):
        client.chat.completions.create(model=trained.model, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match=r"messages\[0\]\.role"):
        client.chat.completions.create(model=trained.other, messages=[{"role": "wizard", "content": "x"}])  # type: ignore[list-item,misc]


def test_a_key_is_asked_for(base_url: str) -> None:
    stranger = openai.OpenAI(base_url=base_url, api_key="another", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def raw(base_url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    host = base_url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=30)
    named = {"Authorization": f"Bearer {KEY}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body, named)
    reply = connection.getresponse()
    answered: dict[str, Any] = json.loads(reply.read())
    connection.close()
    return reply.status, answered


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"temperature": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 400),
        (b" " * (5 * 2**20), "application/json", 413),
    ],
)
def test_bodies_that_are_none_are_refused(base_url: str, body: bytes, kind: str, status: int) -> None:
    code, answer = raw(base_url, "POST", "/v1/completions", body, Content_Type=kind)
    assert code == status
    assert answer["error"]["message"]


def test_paths_that_are_none_are_told_in_the_same_words(base_url: str) -> None:
    assert raw(base_url, "GET", "/v2/nothing")[0] == 404
    code, answer = raw(base_url, "GET", "/v1/completions")
    assert code == 405
    assert "/v1/completions" in answer["error"]["message"]


def test_a_client_that_leaves_ends_its_answer_and_others_go_on(client: openai.OpenAI, trained: Any) -> None:
    asked: dict[str, Any] = {"model": trained.model, "prompt": CODE, "max_tokens": 400, "temperature": 1}
    with ThreadPoolExecutor(4) as threads:

        def leave(_: int) -> str:
            stream = client.completions.create(**asked, stream=True)
            first = next(iter(stream)).choices[0].text
            stream.close()
            return first

        list(threads.map(leave, range(4)))
    assert client.completions.create(**{**asked, "max_tokens": 4}).usage is not None
