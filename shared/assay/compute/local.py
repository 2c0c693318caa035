"""Data-parallel work on processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from assay.cancel import CancelToken
from assay.compute.compute import ItemT, ResultT
from assay.errors import Unavailable
from assay.progress import Progress, silent

POLL_S = 0.1


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
        in_flight: deque[tuple[ItemT, Future[ResultT]]] = deque()
        pool = _Pool(self.workers)
        done, deaths = 0, 0
        try:
            while True:
                cancel.check()
                while len(in_flight) < room:
                    try:
                        item = next(waiting)
                    except StopIteration:
                        break
                    in_flight.append((item, pool.submit(function, item)))
                if not in_flight:
                    return
                try:
                    result = _wait(in_flight[0][1], cancel)
                except BrokenProcessPool:
                    deaths += 1
                    if deaths > retries:
                        raise Unavailable(
                            f"worker processes died {deaths} times (out of memory?); give each less to do, or use "
                            "fewer workers",
                            reason="WORKERS_DIED",
                        ) from None
                    pool.end()
                    pool = _Pool(self.workers)
                    in_flight = deque((item, _again(pool, function, item, future)) for item, future in in_flight)
                    continue
                in_flight.popleft()
                done, deaths = done + 1, 0
                progress(done, total, unit)
                yield result
        finally:
            pool.end()


class _Pool:
    """Processes that die with this pool, or with this process, whatever they are computing."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        receiver, self._lifeline = context.Pipe(duplex=False)
        self._receiver = receiver
        self._executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_die_with_parent, initargs=(receiver,)
        )

    def submit(self, function: Callable[[ItemT], ResultT], item: ItemT) -> Future[ResultT]:
        return self._executor.submit(function, item)

    def end(self) -> None:
        self._lifeline.close()
        self._receiver.close()
        self._executor.shutdown(wait=True, cancel_futures=True)


def _die_with_parent(lifeline: Connection) -> None:
    def watch() -> None:
        lifeline.poll(None)  # becomes readable when the other end closes, which a death of its owner also does
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait(future: Future[ResultT], cancel: CancelToken) -> ResultT:
    while True:
        try:
            return future.result(timeout=POLL_S)
        except TimeoutError:
            if future.done():
                raise
            cancel.check()


def _again(pool: _Pool, function: Callable[[ItemT], ResultT], item: ItemT, future: Future[ResultT]) -> Future[ResultT]:
    """The future itself where it succeeded, or failed by its own fault; else a new one."""
    if future.done() and not future.cancelled() and not isinstance(future.exception(), BrokenProcessPool):
        return future
    return pool.submit(function, item)
