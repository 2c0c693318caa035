"""Sessions that nobody uses any more: how long they stay, and the sweep that takes them out of the store.

Every call that goes on with a session writes its record, and so renews it. Whoever opens one sets off a sweep, at most
one every SWEEP_INTERVAL_S in a process; a store in which nothing is opened does not grow.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from assay.artifacts.objects import ObjectStore
from assay.errors import AssayError, InvalidInput
from assay_inference_optimizer.session_records import SESSIONS

SETTING, DEFAULT_TTL_S = "ASSAY_SESSION_TTL_S", 7 * 24 * 3600.0
LONGEST_CALL_S = 3600.0
"""A call that began in time may end later; the sweep leaves it its record."""
SWEEP_INTERVAL_S = 600.0

log = logging.getLogger(__name__)


def time_to_live_s() -> float:
    """From the environment. InvalidInput naming the variable."""
    text = os.environ.get(SETTING, "")
    try:
        seconds = float(text) if text else DEFAULT_TTL_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidInput(SETTING, f"is {text!r}; write a number of seconds above 0")
    return seconds


def sweep(objects: ObjectStore, ttl_s: float) -> int:
    """Deletes records that were last written more than `ttl_s`, and a call's longest time, ago; how many.

    A record is emptied before it is deleted, by its version: a call that wrote it meanwhile keeps it, and a call that
    read it before loses. What a sweep leaves empty when it is killed the next one deletes; several at once are fine.
    """
    deleted, oldest = 0, time.time() - ttl_s - LONGEST_CALL_S
    for info in objects.list(SESSIONS):
        emptied = info.size_bytes == 0
        if not emptied and info.modified_unix_s < oldest:
            emptied = objects.compare_and_swap(info.key, b"", info.version) is not None
        if emptied:
            objects.delete(info.key)
            deleted += 1
    return deleted


class Sweeper:
    """Sweeps in a thread of its own, which may be killed at any time."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._lock = threading.Lock()
        self._next_s = 0.0

    def set_off(self, objects: ObjectStore) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._next_s:
                return
            self._next_s = now + SWEEP_INTERVAL_S
        threading.Thread(target=self._sweep, args=(objects,), name="assay-session-sweep", daemon=True).start()

    def _sweep(self, objects: ObjectStore) -> None:
        try:
            deleted = sweep(objects, self.ttl_s)
        except AssayError as error:
            log.warning("sweeping sessions: %s; again when one is opened later", error.message)
        except Exception:
            log.exception("sweeping sessions")
        else:
            log.info("swept %d sessions that were not used for %.0f s", deleted, self.ttl_s)
