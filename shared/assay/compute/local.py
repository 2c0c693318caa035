"""Data-parallel work on processes of this machine."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Generic, cast

from assay.cancel import CancelToken
from assay.compute.compute import ItemT, ResultT
from assay.compute.pool import Pool
from assay.errors import Unavailable
from assay.progress import Progress, silent

POLL_S = 0.1


@dataclass
class _Taken(Generic[ItemT]):
    """An item that is not given back yet, and its result to come; None until it is handed to a worker."""

    item: ItemT
    future: Future[bytes] | None = None

    def forget_if_lost(self) -> None:
        future = self.future
        if future is not None:
            failed = future.done() and (future.cancelled() or isinstance(future.exception(), BrokenProcessPool))
            self.future = None if failed or not future.done() else future


class LocalCompute:
    """A pool of processes for each map, ended with it: what is cancelled stops at once, even native code."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

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
        waiting = iter(items)
        total = len(items) if isinstance(items, Sized) else 0
        room = max_in_flight or 2 * self.workers
        in_flight: deque[_Taken[ItemT]] = deque()
        pool = Pool(self.workers)
        done, deaths = 0, 0
        try:
            while True:
                cancel.check()
                in_flight.extend(map(_Taken, islice(waiting, room - len(in_flight))))
                if not in_flight:
                    return
                try:
                    for taken in in_flight:
                        taken.future = taken.future or pool.submit(function, taken.item)
                    result = _wait(cast("Future[bytes]", in_flight[0].future), cancel)
                except BrokenProcessPool:
                    deaths += 1
                    if deaths > retries:
                        raise Unavailable(
                            f"worker processes died {deaths} times (out of memory?); give each less to do, or use "
                            "fewer workers",
                            reason="WORKERS_DIED",
                        ) from None
                    pool.end()
                    pool = Pool(self.workers)
                    for taken in in_flight:
                        taken.forget_if_lost()
                    continue
                in_flight.popleft()
                done, deaths = done + 1, 0
                progress(done, total, unit)
                yield cast("ResultT", pickle.loads(result))
        finally:
            pool.end()


def _wait(future: Future[bytes], cancel: CancelToken) -> bytes:
    while True:
        try:
            return future.result(timeout=POLL_S)
        except TimeoutError:
            if future.done():
                raise
            cancel.check()
