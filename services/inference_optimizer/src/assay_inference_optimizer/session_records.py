"""What the store knows of sessions: whose, of which model, attended to how, and every token so far.

A cache can be lost at any time and made again from this. Records are moved by compare-and-swap, so that of two calls
that continue one session at once, one is told so. An empty record is one that a sweep is about to delete.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from assay.artifacts.objects import ObjectStore
from assay.errors import Aborted, DataLoss, NotFound

SESSIONS = "sessions/"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class SessionRecord:
    """caller: who may use it. sparse: None for dense attention. version: as stored, None before it is."""

    session: str
    caller: str
    model: str
    sparse: dict[str, Any] | None
    tokens: tuple[int, ...] = ()
    version: str | None = None

    def with_tokens(self, tokens: list[int]) -> SessionRecord:
        return replace(self, tokens=(*self.tokens, *tokens))


def new_session(caller: str, model: str, sparse: dict[str, Any] | None) -> SessionRecord:
    """With an id that nobody can guess."""
    return SessionRecord(secrets.token_hex(16), caller, model, sparse)


def read_session(objects: ObjectStore, session: str, caller: str, ttl_s: float = math.inf) -> SessionRecord:
    """NotFound where there is none, it is another caller's, or it was last used more than `ttl_s` ago."""
    absent = NotFound(
        "session: there is none of this id, or it expired unused; open one with Prefill", reason="NO_SESSION"
    )
    if not _ID.fullmatch(session):
        raise absent
    key = SESSIONS + session
    while True:  # once, but for a record that is moved between looking and reading
        before = objects.head(key)
        if before is None:
            raise absent
        data, after = objects.get(key), objects.head(key)
        if after is not None and after.version == before.version:
            break
    if not data:
        raise absent
    try:
        found = json.loads(data)
        tokens = tuple(found["tokens"])
        record = SessionRecord(session, found["caller"], found["model"], found["sparse"], tokens, before.version)
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss("session: its history cannot be read; open a new one") from error
    if record.caller != caller:
        raise absent
    if time.time() - before.modified_unix_s > ttl_s:
        raise NotFound(
            f"session: it was not used for {ttl_s:,.0f} s and has expired; open a new one with Prefill",
            reason="SESSION_EXPIRED",
        )
    return record


def write_session(objects: ObjectStore, record: SessionRecord) -> SessionRecord:
    """With its new version. Aborted where another call has moved it meanwhile."""
    document = {"caller": record.caller, "model": record.model, "sparse": record.sparse, "tokens": list(record.tokens)}
    data = json.dumps(document).encode()
    version = objects.compare_and_swap(SESSIONS + record.session, data, record.version)
    if version is None:
        raise Aborted(
            "session: another call continued it meanwhile; read what it answered before going on",
            reason="SESSION_MOVED",
        )
    return replace(record, version=version)


def forget_session(objects: ObjectStore, session: str) -> None:
    objects.delete(SESSIONS + session)
