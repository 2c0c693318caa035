"""Sessions expire unused: told over the socket, swept from the store, whoever else sweeps, calls or is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from contract.inference_optimizer.asking import decode
from contract.inference_optimizer.killed_sweep import sweep_and_die
from probe.serving import wait_until

from assay.artifacts.local import LocalObjectStore
from assay.artifacts.objects import ObjectStore
from assay.client.connection import Connection
from assay.errors import Aborted, InvalidInput, NotFound
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer import serving, session_expiry
from assay_inference_optimizer.session_expiry import DEFAULT_TTL_S, LONGEST_CALL_S, sweep, time_to_live_s
from assay_inference_optimizer.session_records import (
    SESSIONS,
    SessionRecord,
    new_session,
    read_session,
    write_session,
)

TTL_S = 1000.0
ME, MODEL = "spiffe://example/me", "sha256:" + "0" * 64


def stored(objects: ObjectStore, tokens: int = 3) -> SessionRecord:
    return write_session(objects, new_session(ME, MODEL, None).with_tokens(list(range(tokens))))


def aged(objects: LocalObjectStore, session: str, seconds: float) -> None:
    """As if it had been written so long ago."""
    moment = time.time() - seconds
    os.utime(objects.file(SESSIONS + session), (moment, moment))


def opened(connection: Connection, stub: Any, trained: Any) -> str:
    asked = api.PrefillRequest(model=trained.model, prompt=api.Prompt(text="import os\n"))
    return str(connection.call(stub.Prefill, asked).session)


def test_an_unused_session_expires_and_a_used_one_does_not(
    connection: Connection, stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: Any = trained.artifacts.objects
    monkeypatch.setattr(serving.SWEEPER, "ttl_s", TTL_S)
    used, unused = opened(connection, stub, trained), opened(connection, stub, trained)
    for session in (used, unused):
        aged(objects, session, TTL_S - 60)
    assert decode(stub, used, 2).tokens
    assert time.time() - objects.head(SESSIONS + used).modified_unix_s < 60
    aged(objects, unused, TTL_S + 1)
    assert decode(stub, used, 2).tokens
    for call in (
        lambda: decode(stub, unused, 2),
        lambda: connection.call(stub.Prefill, api.PrefillRequest(session=unused)),
        lambda: connection.call(stub.CloseSession, api.CloseSessionRequest(session=unused)),
    ):
        with pytest.raises(NotFound, match="1,000 s and has expired; open a new one") as caught:
            call()
        assert caught.value.reason == "SESSION_EXPIRED"


def test_whoever_opens_a_session_sets_off_a_sweep(
    connection: Connection, stub: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: Any = trained.artifacts.objects
    monkeypatch.setattr(serving.SWEEPER, "ttl_s", TTL_S)
    unused = opened(connection, stub, trained)
    aged(objects, unused, TTL_S + LONGEST_CALL_S + 60)
    opened(connection, stub, trained)  # too soon after the last sweep
    monkeypatch.setattr(serving.SWEEPER, "_next_s", 0.0)
    kept = opened(connection, stub, trained)
    wait_until(lambda: objects.head(SESSIONS + unused) is None, 5)
    assert objects.head(SESSIONS + kept) is not None
    with pytest.raises(NotFound, match="none of this id, or it expired"):
        decode(stub, unused, 2)


def test_a_sweep_leaves_a_call_under_way_its_record(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path)
    record = stored(objects)
    aged(objects, record.session, TTL_S + LONGEST_CALL_S - 60)
    record = read_session(objects, record.session, ME)
    assert sweep(objects, TTL_S) == 0
    assert write_session(objects, record.with_tokens([9])).tokens == (0, 1, 2, 9)


def test_a_record_that_is_written_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = LocalObjectStore(tmp_path)
    record = stored(objects)
    aged(objects, record.session, TTL_S + LONGEST_CALL_S + 60)
    record = read_session(objects, record.session, ME)
    (listed,) = objects.list(SESSIONS)
    monkeypatch.setattr(objects, "list", lambda prefix: iter([listed]))
    write_session(objects, record.with_tokens([9]))  # after the sweep has listed it
    assert sweep(objects, TTL_S) == 0
    assert read_session(objects, record.session, ME).tokens == (0, 1, 2, 9)


@pytest.mark.parametrize("where", ["compare_and_swap", "delete"])
def test_a_sweep_that_is_killed_is_finished_by_the_next(tmp_path: Path, where: str) -> None:
    objects = LocalObjectStore(tmp_path)
    old = [stored(objects) for _ in range(4)]
    young = stored(objects)
    for record in old:
        aged(objects, record.session, TTL_S + LONGEST_CALL_S + 60)
    before = [read_session(objects, record.session, ME) for record in old]
    dying = multiprocessing.get_context("spawn").Process(target=sweep_and_die, args=(tmp_path, where, TTL_S))
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    left = {info.key: info.size_bytes for info in objects.list(SESSIONS)}
    assert len(left) == 4  # one was deleted, and of those left one may be empty
    assert list(left.values()).count(0) == (1 if where == "delete" else 0)
    for record in before:
        if left.get(SESSIONS + record.session, 0) == 0:
            with pytest.raises(NotFound):
                read_session(objects, record.session, ME)
            with pytest.raises(Aborted):  # a call that had read it loses, and makes no record anew
                write_session(objects, record.with_tokens([9]))
    assert sweep(objects, TTL_S) == 3
    assert [info.key for info in objects.list(SESSIONS)] == [SESSIONS + young.session]


def test_sweeps_and_calls_at_once(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path)
    old, young = [stored(objects) for _ in range(30)], [stored(objects) for _ in range(10)]
    for record in old:
        aged(objects, record.session, TTL_S + LONGEST_CALL_S + 60)

    def use(record: SessionRecord) -> int:
        for token in range(5):
            record = write_session(objects, record.with_tokens([token]))
        return len(record.tokens)

    with ThreadPoolExecutor(8) as threads:
        swept = [threads.submit(sweep, objects, TTL_S) for _ in range(4)]
        assert list(threads.map(use, young)) == [8] * 10
        # Each is emptied by one sweep; that others see it empty and delete it once more does no harm.
        assert sum(one.result() for one in swept) >= 30
    assert {info.key for info in objects.list(SESSIONS)} == {SESSIONS + record.session for record in young}


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(session_expiry.SETTING, raising=False)
    assert time_to_live_s() == DEFAULT_TTL_S == 604_800
    monkeypatch.setenv(session_expiry.SETTING, "90.5")
    assert time_to_live_s() == 90.5
    for wrong in ("0", "-1", "soon", "inf", "nan"):
        monkeypatch.setenv(session_expiry.SETTING, wrong)
        with pytest.raises(InvalidInput, match="ASSAY_SESSION_TTL_S"):
            time_to_live_s()
