"""How far a run is, how fast it goes and when the current stage will end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from assay.engine.engine import StepProgress
from assay.operations.v1 import operations_pb2


class Tracker:
    """Progress of one run; whoever waits on `next_change()` wakes at every change."""

    def __init__(self) -> None:
        self._steps_done = 0
        self._steps_total = 0
        self._before = operations_pb2.Progress()
        self._stages: dict[str, tuple[float, int, StepProgress]] = {}
        self._latest = operations_pb2.Progress()
        self._changed = asyncio.Event()

    def resume(self, before: operations_pb2.Progress) -> None:
        """Goes on from what the front before this one told: the steps it counted are committed, and stay counted."""
        self._before = before
        self._tell(before)

    def expect(self, steps: int) -> None:
        self._steps_total += steps
        self._tell(self._latest)

    def replayed(self) -> None:
        self._steps_done += 1
        self._tell(self._latest)

    def progress(self, name: str, event: StepProgress) -> None:
        """`name` is at work; stages that run side by side take turns in the figures."""
        now = time.monotonic()
        begun, first_done, _ = self._stages.get(name, (now, event.done, event))
        self._stages[name] = (begun, first_done, event)
        seconds = now - begun
        rate = (event.done - first_done) / seconds if seconds > 0 else 0.0
        left = max(0, event.total - event.done)
        self._tell(
            operations_pb2.Progress(
                stage=name,
                done=event.done,
                total=event.total,
                unit=event.unit,
                rate_per_s=rate,
                eta_s=left / rate if rate > 0 and event.total else 0.0,
                figures=event.figures,
            )
        )

    def committed(self, name: str) -> None:
        self._stages.pop(name, None)
        self._steps_done += 1
        self._tell(self._latest)

    def snapshot(self) -> operations_pb2.Progress:
        return self._latest

    def next_change(self) -> asyncio.Event:
        """Set once anything changes. Whoever takes it before a look misses nothing that comes after."""
        return self._changed

    def wake(self) -> None:
        """For changes that are not this tracker's: the run has ended."""
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    def _tell(self, latest: operations_pb2.Progress) -> None:
        fresh = operations_pb2.Progress()
        fresh.CopyFrom(latest)
        fresh.steps_done = max(self._steps_done, self._before.steps_done)
        fresh.steps_total = max(self._steps_total, fresh.steps_done, self._before.steps_total)
        self._latest = fresh
        self.wake()


def to_json(progress: operations_pb2.Progress) -> Mapping[str, Any]:
    return json_format.MessageToDict(progress, preserving_proto_field_name=True)


def from_json(document: Mapping[str, Any]) -> operations_pb2.Progress:
    return json_format.ParseDict(dict(document), operations_pb2.Progress(), ignore_unknown_fields=True)
