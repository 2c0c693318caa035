"""Caches of sessions between their calls. Each belongs to one session and is lent to one call at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from assay.errors import Aborted
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.request import Context


@dataclass
class Kept:
    """context: what the model has read. reserved: bytes of the budget it holds."""

    context: Context
    reserved: int


class SessionCaches:
    """The longest unused are dropped where a budget needs room."""

    def __init__(self, limit_bytes: int) -> None:
        self.budget = CacheBudget(limit_bytes, self._make_room)
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lent: set[str] = set()
        self._lock = threading.Lock()

    def take(self, session: str, tokens: int) -> Kept | None:
        """The session's cache for the caller alone, None where it is lost. `put_back` or `drop` must follow.

        tokens: of the session's history; a cache of another length is of another history, and is dropped.
        Aborted while another call has it.
        """
        with self._lock:
            if session in self._lent:
                raise Aborted("session: another call is using it; wait for its end", reason="SESSION_BUSY")
            kept = self._kept.pop(session, None)
            self._lent.add(session)
        if kept is not None and kept.context.tokens != tokens:
            self.budget.release(kept.reserved)
            return None
        return kept

    def put_back(self, session: str, kept: Kept) -> None:
        with self._lock:
            self._lent.discard(session)
            self._kept[session] = kept

    def drop(self, session: str, reserved: int = 0) -> None:
        """Ends a call that leaves no cache behind. reserved: what the call held."""
        with self._lock:
            self._lent.discard(session)
            kept = self._kept.pop(session, None)
        self.budget.release(reserved + (kept.reserved if kept else 0))

    def _make_room(self, lacking: int) -> None:
        while lacking > 0:
            with self._lock:
                if not self._kept:
                    return
                _, kept = self._kept.popitem(last=False)
            self.budget.release(kept.reserved)
            lacking -= kept.reserved
