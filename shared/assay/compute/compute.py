"""The interface of data-parallel work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from assay.cancel import CancelToken
from assay.progress import Progress, silent

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Compute(Protocol):
    """Applies a function to many items, somewhere with more room than this thread."""

    def map(
        self,
        function: Callable[[ItemT], ResultT],
        items: Iterable[ItemT],
        *,
        cancel: CancelToken,
        progress: Progress = silent,
        unit: str = "items",
        retries: int = 2,
        max_in_flight: int | None = None,
    ) -> Iterator[ResultT]:
        """Results in the order of `items`, as they come.

        function: importable by name (it is sent to other processes) and idempotent: it runs again, at most
        `retries` times, where the process it ran in died. What it raises is raised here.
        max_in_flight: items taken but not yet given back, which bounds memory; by default twice the workers.
        Raises Cancelled or DeadlineExceeded, with the work stopped; Unavailable where workers keep dying.
        """
        ...
