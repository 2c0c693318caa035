"""Data-parallel work on tasks of the Ray cluster this process belongs to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from assay.cancel import CancelToken
from assay.compute.call import call
from assay.compute.compute import ItemT, ResultT
from assay.errors import Unavailable
from assay.progress import Progress, silent

POLL_S = 0.1
STOP_TIMEOUT_S = 5.0


class RayCompute:
    """One Ray task an item; Ray places, restarts and spills them.

    Tasks wait for cpus_per_task and gpus_per_task to be free: a cluster needs some beyond what its engines reserve.
    """

    def __init__(self, *, cpus_per_task: float = 1.0, gpus_per_task: float = 0.0) -> None:
        self._cpus_per_task = cpus_per_task
        self._resources = {"num_cpus": cpus_per_task, "num_gpus": gpus_per_task}

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
        task = ray.remote(**self._resources, max_retries=retries)(call)
        waiting = iter(items)
        total = len(items) if isinstance(items, Sized) else 0
        room = max_in_flight or 2 * self._workers()
        in_flight: deque[Any] = deque()
        done = 0
        try:
            while True:
                cancel.check()
                while len(in_flight) < room:
                    try:
                        in_flight.append(task.remote(function, next(waiting)))
                    except StopIteration:
                        break
                if not in_flight:
                    return
                result = _wait(in_flight[0], cancel)
                in_flight.popleft()
                done += 1
                progress(done, total, unit)
                yield result
        finally:
            _stop(list(in_flight))

    def _workers(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1) / max(self._cpus_per_task, 0.01)))


def _wait(reference: Any, cancel: CancelToken) -> Any:
    while True:
        try:
            return ray.get(reference, timeout=POLL_S)
        except GetTimeoutError:
            cancel.check()
        except RayTaskError as error:
            # Ray wraps what the function raised; callers of every placement see the same exception.
            raise error.cause from error
        except RayError as error:  # workers, nodes and objects that were lost, and no retry left
            raise Unavailable(
                "workers of the Ray cluster keep dying (out of memory?); give each less to do, or the cluster more",
                reason="WORKERS_DIED",
            ) from error


def _stop(references: list[Any]) -> None:
    """Ends tasks, native code included, and waits until Ray says so of each."""
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=STOP_TIMEOUT_S, fetch_local=False)
