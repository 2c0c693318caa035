"""Which sparse cache the forward pass under way runs on.

transformers hands an attention function neither the cache nor arguments of ours (`generate` refuses unknown ones), so
hooks around the decoder say it. A context variable keeps passes of different threads apart.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Cache

_PASSES: ContextVar[tuple[Cache | None, ...]] = ContextVar("sparse_passes", default=())


def enter(cache: Cache | None) -> None:
    """A forward pass begins; None where its cache is not ours."""
    _PASSES.set((*_PASSES.get(), cache))


def leave() -> None:
    _PASSES.set(_PASSES.get()[:-1])


def active() -> Cache | None:
    """The sparse cache of the innermost pass of this thread, None where it runs dense."""
    passes = _PASSES.get()
    return passes[-1] if passes else None
