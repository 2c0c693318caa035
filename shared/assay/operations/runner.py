"""Runs the operations of one service in this front, and takes up those a dead front left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.message import Message

from assay.engine.engine import Engine
from assay.engine.environment import difference
from assay.engine.host import as_assay_error
from assay.engine.v1 import engine_pb2
from assay.errors import AssayError, Cancelled, InvalidInput, NotFound, ResourceExhausted, Unavailable
from assay.operations.job import Job, JobRequestT, JobResultT
from assay.operations.lease import Lease, is_free
from assay.operations.patience import patiently
from assay.operations.records import CANCEL, OperationRecords, Specification, operation_id, serialized
from assay.operations.run import DurableRun
from assay.operations.tracker import Tracker
from assay.status import to_status
from assay.telemetry import current_traceparent

CANCEL_POLL_S = 0.4
RESUME_INTERVAL_S = 2.0
COMMIT_ATTEMPTS = 8
MAX_RUNNING = 32
MAX_OPEN = 1000

log = logging.getLogger(__name__)


@dataclass
class Active:
    """A run in this process. working: it holds the lease, so that what it knows is the state of the operation."""

    specification: Specification
    tracker: Tracker = field(default_factory=Tracker)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    working: bool = False
    environment_change: str = ""
    task: asyncio.Task[None] | None = None


class Operations:
    """The operations of one service. `start` answers at once; the work goes on in tasks of this process."""

    def __init__(self, service: str, jobs: Sequence[Job[Any, Any]], engine: Engine, records: OperationRecords) -> None:
        self.service = service
        self._jobs = {job.method: job for job in jobs}
        self._engine = engine
        self._records = records
        self._owner = uuid.uuid4().hex
        self._active: dict[str, Active] = {}
        self._open: set[str] = set()
        self._resuming: asyncio.Task[None] | None = None

    async def start(
        self, job: Job[JobRequestT, JobResultT], request: JobRequestT, *, caller: str, request_id: str
    ) -> operations_pb2.Operation:
        """The operation of (caller, job, request_id), begun unless it exists.

        Raises InvalidInput where request_id is no UUID, AlreadyExists where it belongs to another request.
        """
        try:
            uuid.UUID(request_id)
        except ValueError:
            raise InvalidInput("request_id", "is no UUID; make one, for example with uuid.uuid4()") from None
        operation = operation_id(caller, job.method, request_id)
        if len(self._open) >= MAX_OPEN and operation not in self._open:
            raise ResourceExhausted(f"{MAX_OPEN} operations are open; wait for some to end", retry_after_s=30.0)
        environment = await self._environment()
        specification = Specification(
            operation_id=operation,
            service=self.service,
            method=job.method,
            caller=caller,
            request_id=request_id,
            create_unix_s=time.time(),
            environment=environment.SerializeToString(deterministic=True).hex(),
            request=serialized(request),
        )
        stored = await asyncio.to_thread(self._records.create, specification)
        if await asyncio.to_thread(self._records.result, operation) is None:
            self._open.add(operation)
            self._run(stored)
        return operations_pb2.Operation(name=f"operations/{operation}")

    def cancel(self, specification: Specification) -> None:
        """Ends an operation whose cancel is requested: here at once, in another front when that looks."""
        run = self._active.get(specification.operation_id)
        if run is not None:
            run.cancelled.set()
        else:
            self._run(specification, at_once=True)

    def active(self, operation: str) -> Active | None:
        """The run in this process, working or about to; None where the operation is done, waits, or runs elsewhere."""
        return self._active.get(operation)

    def wake(self) -> None:
        """Lets everyone who watches a run look again."""
        for run in self._active.values():
            run.tracker.wake()

    def resume(self) -> None:
        """Takes up unfinished operations, now and whenever a front dies."""
        self._resuming = asyncio.create_task(self._resume_forever())

    async def close(self) -> None:
        """Stops without ending any operation: the next front goes on from the last committed step."""
        if self._resuming is not None:
            await _end(self._resuming)
        tasks = [run.task for run in self._active.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resume_forever(self) -> None:
        while True:
            try:
                found = await asyncio.to_thread(lambda: list(self._records.open_ids(self.service)))
                self._open = {*found, *self._active}
                for operation in found:
                    if operation not in self._active:
                        await self._take_up(operation)
            except AssayError as error:
                log.warning("looking for unfinished operations: %s", error.message)
            except Exception:
                log.exception("looking for unfinished operations")
            await asyncio.sleep(RESUME_INTERVAL_S)

    async def _take_up(self, operation: str) -> None:
        """Runs the operation, unless another front does or there is no room. A damaged one stops no other."""
        try:
            lease = await asyncio.to_thread(self._records.lease_content, operation)
            if lease is not None and not is_free(lease, self._owner):
                return
            if await asyncio.to_thread(self._records.result, operation) is not None:
                await asyncio.to_thread(self._records.close, self.service, operation)
            else:
                self._run(await asyncio.to_thread(self._records.specification, operation))
        except Unavailable:
            raise
        except NotFound:
            await asyncio.to_thread(self._records.close, self.service, operation)  # deleted
        except AssayError as error:
            log.warning("operation %s cannot be taken up: %s", operation, error.message)

    def _run(self, specification: Specification, *, at_once: bool = False) -> None:
        """Begins, unless it runs here already; with no room left the next look at what is open does."""
        known = specification.operation_id in self._active or specification.method not in self._jobs
        if known or (len(self._active) >= MAX_RUNNING and not at_once):
            return
        run = Active(specification)
        self._active[specification.operation_id] = run
        run.task = asyncio.create_task(self._work(run, current_traceparent()))

    async def _work(self, run: Active, traceparent: str) -> None:
        operation = run.specification.operation_id
        lease = Lease(self._records, operation, self._owner, run.tracker)
        try:
            if await lease.acquire():
                run.working = True
                run.tracker.wake()
                await self._finish(run, lease, traceparent)
        except AssayError as error:
            log.warning("operation %s stops here for now: %s", operation, error.message)
        except Exception:
            log.exception("operation %s stops here for now", operation)
        finally:
            if lease.held:
                await asyncio.shield(lease.release())
            del self._active[operation]
            run.tracker.wake()  # watchers, who then see the result

    async def _finish(self, run: Active, lease: Lease, traceparent: str) -> None:
        """Works until the operation has a result, unless another front takes it over."""
        keeping = asyncio.create_task(lease.keep())
        cancelling = asyncio.create_task(self._watch_cancel(run))
        body = asyncio.create_task(self._body(run, traceparent))
        try:
            await asyncio.wait([body, keeping, cancelling], return_when=asyncio.FIRST_COMPLETED)
            cancelled = cancelling.done() and not body.done() and await self._cancels(run)
            if cancelling.done() and not cancelled:
                await asyncio.wait([body, keeping], return_when=asyncio.FIRST_COMPLETED)
            if body.done() and not cancelled:
                finished = body.result()
            elif cancelled:
                await _end(body)
                finished = operations_pb2.Operation(done=True, error=to_status(Cancelled()))
            else:
                log.warning("operation %s was taken over by another front", run.specification.operation_id)
                return
            # Under the lease still, or another front would begin while the store is slow.
            await self._commit(run.specification.operation_id, finished)
        finally:
            for task in (body, keeping, cancelling):
                await _end(task)

    async def _cancels(self, run: Active) -> bool:
        """Whether a cancel comes before the point of no return."""
        operation = run.specification.operation_id
        return await patiently(lambda: self._records.decide(operation, CANCEL)) == CANCEL

    async def _is_cancelled(self, run: Active) -> bool:
        operation = run.specification.operation_id
        return await patiently(lambda: self._records.cancel_requested(operation)) and await self._cancels(run)

    async def _body(self, run: Active, traceparent: str) -> operations_pb2.Operation:
        specification = run.specification
        job = self._jobs[specification.method]
        try:
            # Before any work, so that what was cancelled while it waited for room never begins.
            if await self._is_cancelled(run):
                raise Cancelled()
            await self._note_environment(run)
            request: Message = job.request.FromString(specification.request)
            durable = DurableRun(specification, self._engine, self._records, run.tracker, traceparent=traceparent)
            result = await job.body(durable, request)
            finished = operations_pb2.Operation(done=True)
            finished.response.Pack(result, deterministic=True)
            return finished
        except Exception as error:
            return operations_pb2.Operation(done=True, error=to_status(as_assay_error(error)))

    async def _commit(self, operation: str, finished: operations_pb2.Operation) -> None:
        finished.name = f"operations/{operation}"
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                await asyncio.to_thread(self._records.commit_result, self.service, operation, finished, time.time())
            except Unavailable:
                await asyncio.sleep(min(15.0, 0.5 * 2**attempt))
            else:
                self._open.discard(operation)
                return
        # Left open: whoever takes it up finds every step committed and tries again.
        raise Unavailable("the object store stayed away while the result was to be stored")

    async def _watch_cancel(self, run: Active) -> None:
        """Returns once a cancel is requested, here or at another front."""
        while not run.cancelled.is_set():
            with contextlib.suppress(AssayError):
                if await asyncio.to_thread(self._records.cancel_requested, run.specification.operation_id):
                    run.cancelled.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.cancelled.wait(), CANCEL_POLL_S)

    async def _environment(self) -> engine_pb2.DescribeEngineResponse:
        try:
            return await self._engine.describe()
        except Unavailable:
            # The operation may be accepted while its engine starts; a pool scaled to zero wakes by demand.
            return engine_pb2.DescribeEngineResponse()

    async def _note_environment(self, run: Active) -> None:
        specification = run.specification
        before = engine_pb2.DescribeEngineResponse.FromString(bytes.fromhex(specification.environment))
        now = await self._environment()
        if before.device and now.device and (change := difference(before, now)):
            await patiently(lambda: self._records.note_environment_change(specification.operation_id, change))
        run.environment_change = await patiently(lambda: self._records.environment_change(specification.operation_id))


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
