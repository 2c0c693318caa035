"""Worker processes that end when they are told to, and with the process that made them, whatever they compute."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from assay.compute.call import call


class Pool:
    """`workers` processes, each with its share of this machine's cores for native threads."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        # Nothing is ever written: the pipe breaks when its other end goes, with `end` or with this process.
        self._lifeline, self._other_end = context.Pipe(duplex=False)
        threads = max(1, (os.cpu_count() or 1) // workers)
        self._executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(self._lifeline, threads)
        )

    def submit(self, function: Callable[[Any], Any], item: Any) -> Future[bytes]:
        """The pickled result to come. BrokenProcessPool here or in the future where a worker has died."""
        # Pickled here, so that what cannot be unpickled is an exception and does not look like a dead worker.
        return self._executor.submit(_call, pickle.dumps((function, item)))

    def end(self) -> None:
        """Kills the workers and waits until they are gone."""
        # A worker that is still starting does not watch its lifeline yet.
        for process in list((self._executor._processes or {}).values()):
            process.kill()
        self._other_end.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._lifeline.close()


def _call(pickled: bytes) -> bytes:
    return pickle.dumps(call(*pickle.loads(pickled)))


def _begin(lifeline: Connection, threads: int) -> None:
    _die_with(lifeline)
    # Workers that each took every core would slow each other down. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _die_with(lifeline: Connection) -> None:
    """Ends this process once the other end of `lifeline` is closed."""
    if hasattr(fcntl, "F_SETSIG"):
        # Linux: the kernel itself kills, also while native code keeps Python's threads from running. Opened
        # anew, because the signal's receiver belongs to the open file, which all workers share.
        own = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
