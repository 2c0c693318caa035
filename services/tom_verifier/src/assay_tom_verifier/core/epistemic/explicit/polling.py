"""Long loops that stop when they are asked to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from assay.cancel import CancelToken

ItemT = TypeVar("ItemT")


def polled(items: Iterable[ItemT], cancel: CancelToken) -> Iterator[ItemT]:
    """`items`, with a look at `cancel` every few thousand: milliseconds apart."""
    for count, item in enumerate(items):
        if count % 4096 == 0:
            cancel.check()
        yield item
