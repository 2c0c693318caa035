"""Progress: bars on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from assay.cli.words import one_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from assay.operations.v1 import operations_pb2

LINE_INTERVAL_S = 5.0
WORTH_A_LINE_S = 1.0


class Meter(Protocol):
    """Takes progress of local work (call it) and of operations (`operation`), and says how it ended (`finish`)."""

    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None: ...

    def operation(self, metadata: operations_pb2.OperationMetadata) -> None: ...

    def finish(self, outcome: str) -> None: ...


class Board(Protocol):
    """Several meters side by side; they may be told of progress from any thread."""

    def add(self, title: str) -> Meter: ...


@contextmanager
def board() -> Iterator[Board]:
    if not _is_terminal():
        yield _LineBoard()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _BarBoard(bars)


@contextmanager
def meter(title: str) -> Iterator[Meter]:
    begun = time.monotonic()
    with board() as tasks:
        made = tasks.add(title)
        yield made
        if (seconds := time.monotonic() - begun) >= WORTH_A_LINE_S:
            made.finish(f"done in {seconds:.1f} s")


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


class _Base:
    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None:
        self.show(done, total, unit, _note(figures))

    def operation(self, metadata: operations_pb2.OperationMetadata) -> None:
        progress = metadata.progress
        step = min(progress.steps_done + 1, progress.steps_total)
        steps = f"step {step} of {progress.steps_total}" if progress.steps_total else ""
        note = " ".join(filter(None, (steps, progress.stage, _note(progress.figures))))
        self.begin()
        self.show(progress.done, progress.total, progress.unit, one_line(note))

    def begin(self) -> None:
        """Work has begun that is worth telling of, however short it turns out."""

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        raise NotImplementedError


class _BarBoard:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def add(self, title: str) -> Meter:
        return _Bar(self._bars, one_line(title))


class _Bar(_Base):
    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None, note="")

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        self._bars.update(self._task, completed=done, total=total or None, note=f"{unit} {note}".strip())

    def finish(self, outcome: str) -> None:
        self._bars.update(self._task, completed=1, total=1, note=one_line(outcome))


class _LineBoard:
    def add(self, title: str) -> Meter:
        return _Lines(one_line(title))


class _Lines(_Base):
    def __init__(self, title: str) -> None:
        self._title = title
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._begun = False

    def begin(self) -> None:
        with self._lock:
            if not self._begun:
                self._begun = True
                _write_line(f"{self._title} ...")

    def show(self, done: int, total: int, unit: str, note: str) -> None:
        if time.monotonic() - self._last >= WORTH_A_LINE_S:
            self.begin()
        with self._lock:
            now = time.monotonic()
            if now - self._last >= LINE_INTERVAL_S:
                self._last = now
                count = f"{done}/{total} {unit}" if total else f"{done} {unit}" if done else ""
                self._print(f"{count.strip()} {note}".strip())

    def finish(self, outcome: str) -> None:
        self._print(one_line(outcome))

    def _print(self, text: str) -> None:
        _write_line(f"{self._title}: {text}")


def _write_line(text: str) -> None:
    # In one piece: print writes the line's end on its own, and another thread's line may come between.
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _note(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())
