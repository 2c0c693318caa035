"""The port through which traces are asked of a model that writes text, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from assay.cancel import CancelToken


@dataclass(frozen=True)
class Sampling:
    """max_tokens: of one draft, at least 1. temperature: 0 takes the likeliest tokens. seed: decides all drafts."""

    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True)
class Draft:
    """What a model wrote. cut: it had not ended when it reached the token limit."""

    text: str
    cut: bool = False


class TraceWriter(Protocol):
    def write(self, prompt: str, count: int, sampling: Sampling, cancel: CancelToken) -> Iterator[Draft]:
        """`count` drafts, each as soon as it and those before it are there; the first ones do not depend on `count`.

        Raises Cancelled and DeadlineExceeded, InvalidInput for a prompt or a setting that the model cannot take, and
        Unavailable, ResourceExhausted, Unauthenticated or NotFound as whoever runs the model says.
        """
        ...
