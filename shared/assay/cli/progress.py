"""Progress: a bar on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from assay.operations.v1 import operations_pb2

LINE_INTERVAL_S = 5.0


class Meter(Protocol):
    """Takes progress of local work (call it) and of operations (`operation`)."""

    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None: ...

    def operation(self, metadata: operations_pb2.OperationMetadata) -> None: ...


@contextmanager
def meter(title: str) -> Iterator[Meter]:
    if sys.stderr.isatty():
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            yield _Bar(bars, title)
    else:
        lines = _Lines(title)
        yield lines
        lines.finish()


class _Base:
    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None:
        self.show(done, total, unit, _note(figures))

    def operation(self, metadata: operations_pb2.OperationMetadata) -> None:
        progress = metadata.progress
        steps = f"step {min(progress.steps_done + 1, progress.steps_total)} of {progress.steps_total}"
        note = " ".join(filter(None, (steps, progress.stage, _note(progress.figures))))
        self.show(progress.done, progress.total, progress.unit, note)

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        raise NotImplementedError


class _Bar(_Base):
    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None, note="")

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        self._bars.update(self._task, completed=done, total=total or None, note=f"{unit} {note}".strip())


class _Lines(_Base):
    def __init__(self, title: str) -> None:
        self._title = title
        self._begun = self._last = time.monotonic()
        print(f"{title} ...", file=sys.stderr, flush=True)

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_INTERVAL_S:
            self._last = now
            count = f"{done}/{total} {unit}" if total else f"{done} {unit}"
            print(f"{self._title}: {count.strip()} {note}".rstrip(), file=sys.stderr, flush=True)

    def finish(self) -> None:
        print(f"{self._title}: done in {time.monotonic() - self._begun:.1f} s", file=sys.stderr, flush=True)


def _note(figures: object) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in dict(figures).items())  # type: ignore[call-overload]
