"""google.longrunning.Operations and the watch stream, over the records every front shares."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import grpc.aio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from assay.errors import FailedPrecondition, InvalidInput, NotFound, PermissionDenied
from assay.operations.records import OperationRecords, id_of_name
from assay.operations.runner import Active, Operations
from assay.operations.tracker import from_json
from assay.operations.v1 import operations_pb2 as assay_operations_pb2
from assay.operations.v1 import operations_pb2_grpc as assay_operations_pb2_grpc
from assay.server.call import current_call

POLL_S = 0.5
MIN_WATCH_INTERVAL_S = 0.1
MAX_PAGE = 200


class OperationView:
    """Operations as callers see them: records, and live progress where they run in this process."""

    def __init__(self, records: OperationRecords, runners: Sequence[Operations]) -> None:
        self.records = records
        self._runners = runners

    def active(self, operation: str) -> Active | None:
        return next((run for runner in self._runners if (run := runner.active(operation)) is not None), None)

    async def read(self, operation: str) -> operations_pb2.Operation:
        """NotFound for an unknown one."""
        return await asyncio.to_thread(self._read, operation)

    def _read(self, operation: str) -> operations_pb2.Operation:
        specification = self.records.specification(operation)
        metadata = assay_operations_pb2.OperationMetadata(
            method=specification.method,
            caller=specification.caller,
            request_id=specification.request_id,
            cancel_requested=self.records.cancel_requested(operation),
            environment_change=self.records.environment_change(operation),
        )
        metadata.create_time.FromNanoseconds(int(specification.create_unix_s * 1e9))
        found = self.records.result(operation)
        if found is not None:
            seen, end_unix_s = found
            metadata.end_time.FromNanoseconds(int(end_unix_s * 1e9))
            metadata.progress.steps_done = metadata.progress.steps_total = self.records.steps_done(operation)
        else:
            seen = operations_pb2.Operation(name=f"operations/{operation}")
            run = self.active(operation)
            if run is not None:
                metadata.progress.CopyFrom(run.tracker.snapshot())
            elif (held := self.records.lease(operation)) is not None:
                metadata.progress.CopyFrom(from_json(held[1].get("progress", {})))
        seen.metadata.Pack(metadata, deterministic=True)
        return seen

    async def changed(self, operation: str) -> None:
        """Returns when something may have changed; at the latest after POLL_S."""
        run = self.active(operation)
        if run is None:
            await asyncio.sleep(POLL_S)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.tracker.changed(), POLL_S)


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """Get, List, Wait, Cancel and Delete. Cancel: by the creator or an administrator."""

    def __init__(self, view: OperationView, administrators: frozenset[str]) -> None:
        self._view = view
        self._administrators = administrators

    async def GetOperation(  # noqa: N802
        self, request: operations_pb2.GetOperationRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.Operation:
        return await self._view.read(id_of_name(request.name))

    async def ListOperations(  # noqa: N802
        self, request: operations_pb2.ListOperationsRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.ListOperationsResponse:
        if request.filter not in ("", "done", "open"):
            raise InvalidInput("filter", f"is {request.filter!r}; write done, open, or leave it out")
        if request.page_size < 0:
            raise InvalidInput("page_size", f"is {request.page_size}; at least 0")
        size = min(request.page_size or 50, MAX_PAGE)
        ids = await asyncio.to_thread(lambda: list(self._view.records.all_ids()))
        answer = operations_pb2.ListOperationsResponse()
        for operation in (found for found in ids if found > request.page_token):
            if len(answer.operations) == size:
                answer.next_page_token = answer.operations[-1].name.removeprefix("operations/")
                break
            with contextlib.suppress(NotFound):  # deleted meanwhile
                seen = await self._view.read(operation)
                if not request.filter or seen.done == (request.filter == "done"):
                    answer.operations.append(seen)
        return answer

    async def WaitOperation(  # noqa: N802
        self, request: operations_pb2.WaitOperationRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.Operation:
        operation = id_of_name(request.name)
        timeout_s = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (seen := await self._view.read(operation)).done:
                    await self._view.changed(operation)
                return seen
        return await self._view.read(operation)

    async def CancelOperation(  # noqa: N802
        self, request: operations_pb2.CancelOperationRequest, context: grpc.aio.ServicerContext
    ) -> empty_pb2.Empty:
        operation = id_of_name(request.name)
        await self._check_owner(operation)
        await asyncio.to_thread(self._view.records.request_cancel, operation, current_call().caller)
        if (run := self._view.active(operation)) is not None:
            run.cancelled.set()
        return empty_pb2.Empty()

    async def DeleteOperation(  # noqa: N802
        self, request: operations_pb2.DeleteOperationRequest, context: grpc.aio.ServicerContext
    ) -> empty_pb2.Empty:
        operation = id_of_name(request.name)
        await self._check_owner(operation)
        if await asyncio.to_thread(self._view.records.result, operation) is None:
            raise FailedPrecondition("the operation is not done; cancel it first, or wait for it")
        await asyncio.to_thread(self._view.records.delete, operation)
        return empty_pb2.Empty()

    async def _check_owner(self, operation: str) -> None:
        specification = await asyncio.to_thread(self._view.records.specification, operation)
        caller = current_call().caller
        if caller != specification.caller and caller not in self._administrators:
            raise PermissionDenied("only who started an operation, or an administrator, may end it")


class WatchServicer(assay_operations_pb2_grpc.OperationWatchServiceServicer):
    """Streams an operation at once and at every change until it is done."""

    def __init__(self, view: OperationView) -> None:
        self._view = view

    async def WatchOperation(  # noqa: N802
        self, request: assay_operations_pb2.WatchOperationRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[assay_operations_pb2.WatchOperationResponse]:
        operation = id_of_name(request.name)
        last = b""
        while True:
            seen = await self._view.read(operation)
            if (data := seen.SerializeToString(deterministic=True)) != last:
                last = data
                yield assay_operations_pb2.WatchOperationResponse(operation=seen)
            if seen.done:
                return
            await asyncio.sleep(MIN_WATCH_INTERVAL_S)
            await self._view.changed(operation)
