"""How far work has come: one callable, so that science need not know who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then by long work; must be cheap and must not raise.

    done, total: in `unit` (e.g. "sequences"); total 0 means not known yet.
    figures: partial results worth watching, e.g. `loss_nats=2.31`.
    """

    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None: ...


def silent(done: int, total: int, unit: str = "", **figures: float) -> None:
    """Listens to nothing."""
