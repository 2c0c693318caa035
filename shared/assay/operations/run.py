"""One execution of a job: steps that are committed are not computed again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from contextlib import aclosing

from google.protobuf import any_pb2

from assay.engine.engine import Engine, StepCall, StepProgress
from assay.engine.step import ReplyT, RequestT, Step
from assay.errors import Cancelled, FailedPrecondition, Internal, Unavailable
from assay.operations.patience import patiently, pauses
from assay.operations.records import FINISH, OperationRecords, Specification, StepRecord, serialized
from assay.operations.tracker import Tracker

FINAL = frozenset({"WORKERS_DIED"})  # was tried again where it happened

log = logging.getLogger(__name__)


class DurableRun:
    """Implements `assay.operations.job.Run` over an engine and the operation's records."""

    def __init__(
        self,
        specification: Specification,
        engine: Engine,
        records: OperationRecords,
        tracker: Tracker,
        *,
        traceparent: str = "",
        prefix: str = "",
    ) -> None:
        self._specification = specification
        self._engine = engine
        self._records = records
        self._tracker = tracker
        self._traceparent = traceparent
        self._prefix = prefix

    def scope(self, name: str) -> DurableRun:
        return DurableRun(
            self._specification,
            self._engine,
            self._records,
            self._tracker,
            traceparent=self._traceparent,
            prefix=f"{self._prefix}{name}/",
        )

    async def step(
        self,
        name: str,
        step: Step[RequestT, ReplyT],
        request: RequestT,
        *,
        model_id: str = "",
        no_return: bool = False,
    ) -> ReplyT:
        self._tracker.expect(1)
        if no_return:
            operation = self._specification.operation_id
            if await patiently(lambda: self._records.decide(operation, FINISH)) != FINISH:
                raise Cancelled()
        return await self._step(name, step, request, model_id)

    async def map(
        self,
        name: str,
        step: Step[RequestT, ReplyT],
        requests: Sequence[RequestT],
        *,
        concurrency: int = 2,
        model_id: str = "",
    ) -> list[ReplyT]:
        self._tracker.expect(len(requests))
        room = asyncio.Semaphore(concurrency)

        async def one(index: int, request: RequestT) -> ReplyT:
            async with room:
                return await self._step(f"{name}/{index}", step, request, model_id)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(index, request)) for index, request in enumerate(requests)]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _step(self, name: str, step: Step[RequestT, ReplyT], request: RequestT, model_id: str) -> ReplyT:
        full_name = self._prefix + name
        operation = self._specification.operation_id
        asked = hashlib.sha256(serialized(request)).hexdigest()
        record = await patiently(lambda: self._records.step(operation, full_name))
        if record is None:
            reply = await self._compute(full_name, step, request, model_id)
            packed = any_pb2.Any()
            packed.Pack(reply, deterministic=True)
            fresh = StepRecord(asked, packed)
            record = await patiently(lambda: self._records.commit_step(operation, full_name, fresh))
            self._tracker.committed(full_name)
        else:
            self._tracker.replayed()
        if record.request_sha256 != asked:
            raise FailedPrecondition(
                f"step {full_name} was committed by another build that asked for something else; start the operation "
                "again under a new request_id",
                reason="BUILD_CHANGED",
            )
        committed = step.reply()
        if not record.reply.Unpack(committed):
            raise Internal(f"step {full_name} was committed with another message")
        return committed

    async def _compute(self, name: str, step: Step[RequestT, ReplyT], request: RequestT, model_id: str) -> ReplyT:
        call = StepCall(
            operation_id=self._specification.operation_id,
            request_id=self._specification.request_id,
            traceparent=self._traceparent,
            model_id=model_id,
        )
        for pause_s in pauses():
            try:
                self._tracker.progress(name, StepProgress(0, 0))
                async with aclosing(self._engine.stream(step, request, call)) as events:
                    async for event in events:
                        if not isinstance(event, StepProgress):
                            return event
                        self._tracker.progress(name, event)
                raise Internal(f"step {name} ended without a reply")
            except (Unavailable, Cancelled) as error:
                # Cancelled: by an engine that goes away. A caller's cancel ends this task instead.
                if error.reason in FINAL:
                    raise
                log.warning("step %s: %s; again in %.1f s", name, error.message, pause_s)
                await asyncio.sleep(pause_s)
        raise Unavailable(f"the engine stayed away during step {name}; start the operation again when it is back")
