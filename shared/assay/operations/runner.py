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
from assay.errors import AssayError, Cancelled, InvalidInput, ResourceExhausted, Unavailable
from assay.operations.job import Job, JobRequestT, JobResultT
from assay.operations.records import OperationRecords, Specification, operation_id, serialized
from assay.operations.run import DurableRun
from assay.operations.tracker import Tracker, to_json
from assay.status import to_status
from assay.telemetry import current_traceparent

LEASE_S = 10.0
RENEW_S = 3.0
CANCEL_POLL_S = 0.4
RESUME_INTERVAL_S = 2.0
MAX_RUNNING = 32
MAX_OPEN = 1000

log = logging.getLogger(__name__)


@dataclass
class Active:
    """A run in this process."""

    specification: Specification
    tracker: Tracker = field(default_factory=Tracker)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Operations:
    """The operations of one service. `start` answers at once; the work goes on in tasks of this process."""

    def __init__(self, service: str, jobs: Sequence[Job[Any, Any]], engine: Engine, records: OperationRecords) -> None:
        self._service = service
        self._jobs = {job.method: job for job in jobs}
        self._engine = engine
        self._records = records
        self._owner = uuid.uuid4().hex
        self._active: dict[str, Active] = {}
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
        if len(self._active) >= MAX_OPEN:
            raise ResourceExhausted(f"{MAX_OPEN} operations are open; wait for some to end", retry_after_s=30.0)
        environment = await self._environment()
        specification = Specification(
            operation_id=operation_id(caller, job.method, request_id),
            service=self._service,
            method=job.method,
            caller=caller,
            request_id=request_id,
            create_unix_s=time.time(),
            environment=environment.SerializeToString(deterministic=True).hex(),
            request=serialized(request),
        )
        stored = await asyncio.to_thread(self._records.create, specification)
        if await asyncio.to_thread(self._records.result, stored.operation_id) is None:
            self._run(stored)
        return operations_pb2.Operation(name=f"operations/{stored.operation_id}")

    def active(self, operation: str) -> Active | None:
        """The run in this process, None where the operation is done or runs elsewhere."""
        return self._active.get(operation)

    def resume(self) -> None:
        """Takes up unfinished operations, now and whenever a front dies."""
        self._resuming = asyncio.create_task(self._resume_forever())

    async def close(self) -> None:
        """Stops without ending any operation: the next front goes on from the last committed step."""
        tasks = [run.task for run in self._active.values() if run.task is not None]
        if self._resuming is not None:
            tasks.append(self._resuming)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resume_forever(self) -> None:
        while True:
            try:
                for operation in await asyncio.to_thread(lambda: list(self._records.open_ids(self._service))):
                    if operation in self._active or len(self._active) >= MAX_RUNNING:
                        continue
                    if await asyncio.to_thread(self._records.result, operation) is not None:
                        await asyncio.to_thread(self._records.close, self._service, operation)
                    else:
                        self._run(await asyncio.to_thread(self._records.specification, operation))
            except AssayError as error:
                log.warning("looking for unfinished operations: %s", error.message)
            await asyncio.sleep(RESUME_INTERVAL_S)

    def _run(self, specification: Specification) -> None:
        if specification.operation_id in self._active or specification.method not in self._jobs:
            return
        run = Active(specification)
        self._active[specification.operation_id] = run
        run.task = asyncio.create_task(self._work(run, current_traceparent()))

    async def _work(self, run: Active, traceparent: str) -> None:
        operation = run.specification.operation_id
        lease = Lease(self._records, operation, self._owner, run.tracker)
        try:
            if not await lease.acquire():
                return  # it ended while another front worked on it
            guards = [asyncio.create_task(lease.keep()), asyncio.create_task(self._watch_cancel(run))]
            body = asyncio.create_task(self._body(run, traceparent))
            try:
                await asyncio.wait([body, *guards], return_when=asyncio.FIRST_COMPLETED)
                if guards[0].done() and not body.done():
                    return  # another front took over
                if not body.done():
                    await _end(body)
                    finished = operations_pb2.Operation(done=True, error=to_status(Cancelled()))
                else:
                    finished = body.result()
            finally:
                for task in (body, *guards):
                    await _end(task)
            finished.name = f"operations/{operation}"
            await self._commit(operation, finished)
            await lease.release()
        except AssayError as error:
            log.warning("operation %s stops here for now: %s", operation, error.message)
        finally:
            del self._active[operation]
            run.tracker.expect(0)  # wakes watchers, who then see the result

    async def _body(self, run: Active, traceparent: str) -> operations_pb2.Operation:
        specification = run.specification
        job = self._jobs[specification.method]
        try:
            await self._note_environment(specification)
            request: Message = job.request.FromString(specification.request)
            durable = DurableRun(specification, self._engine, self._records, run.tracker, traceparent=traceparent)
            result = await job.body(durable, request)
            finished = operations_pb2.Operation(done=True)
            finished.response.Pack(result, deterministic=True)
            return finished
        except Exception as error:
            return operations_pb2.Operation(done=True, error=to_status(as_assay_error(error)))

    async def _commit(self, operation: str, finished: operations_pb2.Operation) -> None:
        for attempt in range(8):
            try:
                await asyncio.to_thread(self._records.commit_result, self._service, operation, finished, time.time())
                return
            except Unavailable:
                await asyncio.sleep(min(15.0, 0.5 * 2**attempt))
        # Left open: the resume loop finds every step committed and tries again.

    async def _watch_cancel(self, run: Active) -> None:
        while not run.cancelled.is_set():
            with contextlib.suppress(Unavailable):
                if await asyncio.to_thread(self._records.cancel_requested, run.specification.operation_id):
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.cancelled.wait(), CANCEL_POLL_S)

    async def _environment(self) -> engine_pb2.DescribeEngineResponse:
        try:
            return await self._engine.describe()
        except Unavailable:
            # The operation may be accepted while its engine starts; a pool scaled to zero wakes by demand.
            return engine_pb2.DescribeEngineResponse()

    async def _note_environment(self, specification: Specification) -> None:
        before = engine_pb2.DescribeEngineResponse.FromString(bytes.fromhex(specification.environment))
        now = await self._environment()
        if before.device and now.device and (change := difference(before, now)):
            await asyncio.to_thread(self._records.note_environment_change, specification.operation_id, change)


class Lease:
    """Keeps other fronts from doing the same work; the result would be the same if they did."""

    def __init__(self, records: OperationRecords, operation: str, owner: str, tracker: Tracker) -> None:
        self._records, self._operation, self._owner, self._tracker = records, operation, owner, tracker
        self._version = ""

    async def acquire(self) -> bool:
        """Waits until the operation is free; False where it ended meanwhile."""
        while True:
            with contextlib.suppress(Unavailable):
                if await asyncio.to_thread(self._records.result, self._operation) is not None:
                    return False
                held = await asyncio.to_thread(self._records.lease, self._operation)
                if held is None or held[1]["expires_unix_s"] < time.time() or held[1]["owner"] == self._owner:
                    version = await self._write(held[0].version if held else None)
                    if version is not None:
                        self._version = version
                        return True
            await asyncio.sleep(RENEW_S / 2)

    async def keep(self) -> None:
        """Renews until another front holds the lease; then returns."""
        while True:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(Unavailable):
                version = await self._write(self._version)
                if version is None:
                    return
                self._version = version

    async def release(self) -> None:
        with contextlib.suppress(AssayError):
            await asyncio.to_thread(
                self._records.write_lease, self._operation, {"owner": "", "expires_unix_s": 0.0}, self._version
            )

    async def _write(self, expected: str | None) -> str | None:
        content = {
            "owner": self._owner,
            "expires_unix_s": time.time() + LEASE_S,
            "progress": to_json(self._tracker.snapshot()),
            "renewal": uuid.uuid4().hex,
        }
        return await asyncio.to_thread(self._records.write_lease, self._operation, content, expected)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
