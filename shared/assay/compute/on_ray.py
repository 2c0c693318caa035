"""Data-parallel work on tasks of the Ray cluster this process belongs to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError, TaskCancelledError, WorkerCrashedError

from assay.cancel import CancelToken
from assay.compute.compute import ItemT, ResultT
from assay.errors import AssayError, Unavailable
from assay.progress import Progress, silent

POLL_S = 0.1


class RayCompute:
    """One Ray task an item; Ray places, restarts and spills them."""

    def __init__(self, *, cpus_per_task: float = 1.0, gpus_per_task: float = 0.0) -> None:
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
        task = ray.remote(**self._resources, max_retries=retries)(function)
        waiting = iter(items)
        total = len(items) if isinstance(items, Sized) else 0
        room = max_in_flight or max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
        in_flight: deque[Any] = deque()
        done = 0
        try:
            while True:
                cancel.check()
                while len(in_flight) < room:
                    try:
                        in_flight.append(task.remote(next(waiting)))
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
            for reference in in_flight:
                ray.cancel(reference, force=True)


def _wait(reference: Any, cancel: CancelToken) -> Any:
    while True:
        try:
            return ray.get(reference, timeout=POLL_S)
        except GetTimeoutError:
            cancel.check()
        except RayTaskError as error:
            # Ray wraps what the function raised; callers of every placement see the same exception.
            if isinstance(error.cause, AssayError):
                raise error.cause from None
            raise
        except (WorkerCrashedError, TaskCancelledError) as error:
            raise Unavailable("Ray workers keep dying; look at the cluster's memory", reason="WORKERS_DIED") from error
