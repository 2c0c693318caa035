"""Sessions over a real socket: history in the store, a cache that may be lost, and nobody else's blocks."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.inference_optimizer.asking import SPARSE, decode, generate, request
from probe.serving import wait_until

from assay.artifacts.local import LocalObjectStore
from assay.client.connection import Connection
from assay.client.errors import error_from_rpc
from assay.errors import Aborted, FailedPrecondition, InvalidInput, NotFound, OutOfRange, ResourceExhausted
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer import serving
from assay_inference_optimizer.core.generation import loop
from assay_inference_optimizer.session_records import (
    SESSIONS,
    new_session,
    read_session,
    write_session,
)

NATS = 1e-4
CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"


class Sessions:
    def __init__(self, connection: Connection, stub: Any, trained: Any) -> None:
        self.connection, self.stub, self.trained = connection, stub, trained

    def prefill(self, text: str | None = CODE, session: str = "", **fields: Any) -> api.PrefillResponse:
        prompt = None if text is None else api.Prompt(text=text)
        model = "" if session else self.trained.model
        asked = api.PrefillRequest(model=model, session=session, prompt=prompt, **fields)
        answer: api.PrefillResponse = self.connection.call(self.stub.Prefill, asked)
        return answer

    def close(self, session: str) -> None:
        self.connection.call(self.stub.CloseSession, api.CloseSessionRequest(session=session))


@pytest.fixture
def sessions(connection: Connection, stub: Any, trained: Any) -> Sessions:
    return Sessions(connection, stub, trained)


def lose_caches() -> None:
    """What a restart of the engine, or a need for room, does."""
    serving.SESSIONS._make_room(serving.SESSIONS.budget.limit_bytes)


@pytest.mark.parametrize("sparse", [None, SPARSE], ids=["dense", "sparse"])
def test_a_session_answers_as_one_call_would(sessions: Sessions, sparse: api.SparseConfig | None) -> None:
    whole = generate(sessions.stub, request(sessions.trained.model, CODE * 3, 24, sparse=sparse))
    opened = sessions.prefill(CODE * 3, sparse=sparse)
    assert opened.tokens == whole.usage.prompt_tokens
    assert opened.HasField("sparse") == (sparse is not None)
    first, second = decode(sessions.stub, opened.session, 10), decode(sessions.stub, opened.session, 14)
    assert first.tokens + second.tokens == whole.tokens
    assert first.nats + second.nats == pytest.approx(whole.nats, abs=NATS)


def test_a_lost_cache_is_told_and_made_again(sessions: Sessions) -> None:
    kept, lost = sessions.prefill().session, sessions.prefill().session
    before = decode(sessions.stub, kept, 8).tokens, decode(sessions.stub, lost, 8).tokens
    expected = decode(sessions.stub, kept, 8)
    lose_caches()
    with pytest.raises(Aborted, match="prefill again") as caught:
        decode(sessions.stub, lost, 8)
    assert caught.value.reason == "CACHE_LOST"
    again = sessions.prefill(None, lost)
    assert again.rebuilt
    assert again.tokens == sessions.prefill().tokens + 8
    answer = decode(sessions.stub, lost, 8)
    assert before[0] == before[1]
    assert answer.tokens == expected.tokens
    assert answer.nats == pytest.approx(expected.nats, abs=NATS)


def test_a_session_reads_more(sessions: Sessions) -> None:
    opened = sessions.prefill(CODE).session
    said = decode(sessions.stub, opened, 5).tokens
    more = sessions.prefill("\n# and more\n", opened)
    assert not more.rebuilt
    history = json.loads(sessions.trained.artifacts.objects.get(SESSIONS + opened))["tokens"]
    first = sessions.prefill(CODE).tokens
    assert tuple(history[first : first + 5]) == said
    assert len(history) == more.tokens
    whole = generate(sessions.stub, request(sessions.trained.model, history, 12))
    assert decode(sessions.stub, opened, 12).tokens == whole.tokens


def test_other_settings_are_refused(sessions: Sessions) -> None:
    dense, sparse = sessions.prefill().session, sessions.prefill(sparse=SPARSE).session
    other = api.SparseConfig()
    other.CopyFrom(SPARSE)
    other.target_density = 0.5
    for session, wrong in ((dense, SPARSE), (sparse, other)):
        asked = api.DecodeRequest(session=session, sparse=wrong, sampling=api.Sampling(max_new_tokens=1))
        with pytest.raises(grpc.RpcError) as caught:
            list(sessions.stub.Decode(asked))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(FailedPrecondition, match="opened with"):
            sessions.prefill("x", session, sparse=wrong)
    same = api.DecodeRequest(session=sparse, sparse=SPARSE, sampling=api.Sampling(max_new_tokens=2))
    assert list(sessions.stub.Decode(same))


def test_no_session_reads_anothers_cache(sessions: Sessions) -> None:
    texts = [f"value_{n} = {n}\n" * (3 + n) for n in range(6)]
    alone = [generate(sessions.stub, request(sessions.trained.model, text, 20)).tokens for text in texts]
    opened = [sessions.prefill(text).session for text in texts]
    # Decoded together, two steps at a time, while one of them is closed and its neighbours go on.
    parts: list[list[int]] = [[] for _ in texts]
    for turn in range(10):
        with ThreadPoolExecutor(len(texts)) as threads:
            for index, answer in enumerate(threads.map(lambda one: decode(sessions.stub, one, 2), opened)):
                parts[index] += answer.tokens
        if turn == 4:
            sessions.close(opened.pop())
            texts.pop()
    assert [tuple(part) for part in parts[:5]] == alone[:5]
    held = [kept.context.cache for kept in serving.SESSIONS._kept.values()]
    storages = [layer.keys.untyped_storage().data_ptr() for cache in held for layer in cache.layers]
    assert len(set(storages)) == len(storages)


def test_unknown_and_closed_sessions_are_not_found(sessions: Sessions) -> None:
    opened = sessions.prefill().session
    sessions.close(opened)
    for session in (opened, "0" * 32, "", "../../labels/zoo", "0" * 31 + "G"):
        with pytest.raises(NotFound, match="session"):
            decode(sessions.stub, session, 1)
        with pytest.raises(NotFound):
            sessions.close(session)
        if session:
            with pytest.raises(NotFound):
                sessions.prefill("x", session)


def test_another_callers_session_is_not_found(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path)
    record = write_session(objects, new_session("spiffe://example/one", "sha256:" + "0" * 64, None))
    assert read_session(objects, record.session, "spiffe://example/one") == record
    with pytest.raises(NotFound):
        read_session(objects, record.session, "spiffe://example/two")
    moved = write_session(objects, record.with_tokens([1, 2]))
    with pytest.raises(Aborted):
        write_session(objects, record.with_tokens([3]))
    assert read_session(objects, record.session, "spiffe://example/one").tokens == moved.tokens == (1, 2)


def test_a_cancelled_decode_frees_the_cache_and_leaves_the_history(sessions: Sessions) -> None:
    before = serving.SESSIONS.budget.reserved_bytes
    opened = sessions.prefill()
    asked = api.DecodeRequest(session=opened.session, sampling=api.Sampling(max_new_tokens=400, ignore_end=True))
    call = sessions.stub.Decode(asked)
    next(call)
    with pytest.raises(Aborted, match="another call"):
        decode(sessions.stub, opened.session, 1)
    call.cancel()
    wait_until(lambda: serving.SESSIONS.budget.reserved_bytes <= before, 2)
    with pytest.raises(Aborted, match="prefill again"):
        decode(sessions.stub, opened.session, 1)
    assert sessions.prefill(None, opened.session).tokens == opened.tokens


def test_idle_caches_make_room_and_those_in_use_do_not(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_caches()
    budget = serving.SESSIONS.budget
    idle = sessions.prefill().session
    size = budget.reserved_bytes
    monkeypatch.setattr(budget, "limit_bytes", int(1.5 * size))
    sessions.prefill()
    with pytest.raises(Aborted, match="prefill again"):
        decode(sessions.stub, idle, 1)
    read = loop.read_tokens

    def slow(*arguments: Any) -> Any:
        time.sleep(0.02)
        return read(*arguments)

    monkeypatch.setattr(loop, "read_tokens", slow)
    monkeypatch.setattr(budget, "limit_bytes", 200 * 512)
    call = sessions.stub.Generate(request(sessions.trained.model, "x", 150, ignore_end=True))
    next(call)
    asked = api.PrefillRequest(model=sessions.trained.model, prompt=api.Prompt(text=CODE * 4))
    with pytest.raises(grpc.RpcError) as caught:  # not `prefill`, which would try again until there is room
        sessions.stub.Prefill(asked)
    refused = error_from_rpc(caught.value)
    assert isinstance(refused, ResourceExhausted)
    assert refused.retry_after_s
    call.cancel()


def test_a_refusal_for_want_of_bytes_leaves_the_session_as_it_was(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_caches()
    budget = serving.SESSIONS.budget
    one, other = sessions.prefill().session, sessions.prefill().session
    held = budget.reserved_bytes
    monkeypatch.setattr(budget, "limit_bytes", held // 2)
    with pytest.raises(ResourceExhausted):
        decode(sessions.stub, one, 300)
    asked = api.PrefillRequest(session=one, prompt=api.Prompt(text=CODE * 3))
    with pytest.raises(grpc.RpcError) as caught:
        sessions.stub.Prefill(asked)
    assert isinstance(error_from_rpc(caught.value), ResourceExhausted)
    monkeypatch.undo()
    answer = decode(sessions.stub, one, 8)  # ABORTED where its cache had gone
    sessions.prefill(None, other)
    assert answer.tokens == decode(sessions.stub, other, 8).tokens
    for session in (one, other):
        sessions.close(session)
    assert budget.reserved_bytes == 0


def test_a_session_holds_what_it_reports_and_reserves_no_less(sessions: Sessions) -> None:
    lose_caches()
    opened = sessions.prefill(CODE * 6, sparse=SPARSE)
    (kept,) = serving.SESSIONS._kept.values()
    assert opened.cache_bytes == kept.context.cache.held_bytes() <= kept.reserved
    assert kept.reserved < 2 * opened.cache_bytes
    sessions.close(opened.session)


def test_a_session_ends_with_the_models_context(sessions: Sessions) -> None:
    opened = sessions.prefill(CODE).session
    with pytest.raises(OutOfRange, match="512"):
        decode(sessions.stub, opened, 500)
    with pytest.raises(OutOfRange):
        sessions.prefill("word " * 600, opened)
    assert decode(sessions.stub, opened, 2).tokens  # neither has harmed it


def test_an_empty_prefill_is_refused(sessions: Sessions) -> None:
    with pytest.raises(InvalidInput, match="prompt"):
        sessions.prefill(None)
