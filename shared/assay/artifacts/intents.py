"""How writers and the garbage collector keep out of each other's way, with nothing but conditional writes.

A writer that relies on what the store holds already could lose it to a collector that looked a moment earlier.
So a writer first stores an intent that names what it needs and only then asks whether a sweep is running; a
collector first marks the sweep as running and only then reads the intents. Whoever comes second sees the other:
either the collector spares what the intent names, or the writer waits for the sweep to end and looks again.

    intents/<id>   {"artifacts": [digest...], "blobs": [sha256...]}; ignored a day after it was written
    gc/state       {"sweep": id or null}; its modification time is the sweep's last sign of life
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from assay.artifacts.objects import ObjectStore
from assay.errors import Aborted, AssayError, FailedPrecondition, NotFound, Unavailable

INTENTS = "intents/"
STATE = "gc/state"
INTENT_LIFETIME_S = 24 * 3600.0
SWEEP_LIFETIME_S = 5 * 60.0
HEARTBEAT_S = 30.0
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Needed:
    """What a write relies on: artifacts with all they were made from, and single blobs."""

    artifacts: frozenset[str]
    blobs: frozenset[str]


class Intent:
    """A declared write; `settle` after each look at the store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._sweep_seen = _running_sweep(objects)

    def settled(self, relied_on_existing: bool) -> bool:
        """True where what was just looked up is there to stay; False after waiting for a sweep: look again."""
        if self._sweep_seen is None or not relied_on_existing:
            return True
        give_up = time.monotonic() + PATIENCE_S
        # Later sweeps see the intent, which has been stored all the while: only this one must end.
        while _running_sweep(self._objects) == self._sweep_seen:
            if time.monotonic() > give_up:
                raise Unavailable("garbage is being collected; try again in a minute", retry_after_s=30)
            time.sleep(0.2)
        self._sweep_seen = None
        return False


@contextmanager
def intent(objects: ObjectStore, *, artifacts: Sequence[str] = (), blobs: Sequence[str] = ()) -> Iterator[Intent]:
    """Declares that a write relies on these artifacts and blobs, from before it looks for them until it is done."""
    key = f"{INTENTS}{uuid.uuid4().hex}"
    objects.put_if_absent(key, json.dumps({"artifacts": sorted(artifacts), "blobs": sorted(blobs)}).encode())
    try:
        yield Intent(objects)
    finally:
        # Where the store is away the intent stays; it protects a little garbage for a day.
        with suppress(AssayError):
            objects.delete(key)


def needed_by_intents(objects: ObjectStore, now_unix_s: float) -> Needed:
    """What writes in flight rely on; forgets intents whose writers must be dead."""
    artifacts: set[str] = set()
    blobs: set[str] = set()
    for info in list(objects.list(INTENTS)):
        if now_unix_s - info.modified_unix_s > INTENT_LIFETIME_S:
            objects.delete(info.key)
            continue
        with suppress(NotFound):
            document = json.loads(objects.get(info.key))
            artifacts.update(document["artifacts"])
            blobs.update(document["blobs"])
    return Needed(frozenset(artifacts), frozenset(blobs))


class Sweep:
    """The right to delete, held by one collector at a time."""

    def __init__(self, objects: ObjectStore, version: str, sweep_id: str) -> None:
        self._objects = objects
        self._version = version
        self._id = sweep_id
        self._beat_s = time.monotonic()

    def now_unix_s(self) -> float:
        """The time by the store's own clock, to which the objects' times belong."""
        # Listed like the objects it is compared with: S3 rounds the time that `head` gives to whole seconds.
        return next((info.modified_unix_s for info in self._objects.list(STATE)), time.time())

    def keep_alive(self) -> None:
        """To be called before each object is looked at or deleted.

        Aborted where this sweep paused so long that writers gave it up.
        """
        silent_s = time.monotonic() - self._beat_s
        if silent_s > SWEEP_LIFETIME_S / 2:
            raise Aborted("the garbage collection was held up for too long; run it again")
        if silent_s > HEARTBEAT_S:
            self._write(self._id)

    def end(self) -> None:
        self._write(None)

    def _write(self, sweep_id: str | None) -> None:
        begun_s = time.monotonic()
        version = self._objects.compare_and_swap(STATE, _state(sweep_id), self._version)
        if version is None:
            raise Aborted("another garbage collection took over; run it again")
        self._version = version
        self._beat_s = begun_s


@contextmanager
def sweep(objects: ObjectStore) -> Iterator[Sweep]:
    """Marks a sweep as running. FailedPrecondition where another one is."""
    if _running_sweep(objects) is not None:
        raise FailedPrecondition("another garbage collection is running; wait for it to end")
    info = objects.head(STATE)
    sweep_id = uuid.uuid4().hex
    version = objects.compare_and_swap(STATE, _state(sweep_id), info.version if info else None)
    if version is None:
        raise FailedPrecondition("another garbage collection has just started; wait for it to end")
    running = Sweep(objects, version, sweep_id)
    try:
        yield running
    finally:
        with suppress(AssayError):
            running.end()


def _state(sweep_id: str | None) -> bytes:
    # The revision makes every state's bytes, and so its version, unique.
    return json.dumps({"revision": uuid.uuid4().hex, "sweep": sweep_id}).encode()


def _running_sweep(objects: ObjectStore) -> str | None:
    """The id of the sweep that gives signs of life."""
    info = objects.head(STATE)
    if info is None:
        return None
    try:
        document = json.loads(objects.get(STATE))
    except NotFound:
        return None
    sweep_id: str | None = document["sweep"]
    return sweep_id if time.time() - info.modified_unix_s <= SWEEP_LIFETIME_S else None
