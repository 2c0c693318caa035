"""google.longrunning.Operations and the watch stream, over the records every front shares."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import grpc
import grpc.aio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.protobuf.message_factory import GetMessageClass

from assay.errors import FailedPrecondition, InvalidInput, NotFound, PermissionDenied, Unavailable
from assay.operations.records import OperationRecords, Specification, id_of_name
from assay.operations.runner import Active, Operations
from assay.operations.tracker import from_json
from assay.operations.v1 import operations_pb2 as assay_operations_pb2
from assay.operations.v1 import operations_pb2_grpc as assay_operations_pb2_grpc
from assay.server.call import current_call

POLL_S = 0.5
MIN_WATCH_INTERVAL_S = 0.1
MAX_PAGE = 200


class OperationView:
    """Operations as callers see them: live where they run in this process, from their records elsewhere."""

    def __init__(self, records: OperationRecords, runners: Sequence[Operations]) -> None:
        self.records = records
        self._runners = {runner.service: runner for runner in runners}
        self._stopping = False

    def active(self, operation: str) -> Active | None:
        found = (runner.active(operation) for runner in self._runners.values())
        return next((run for run in found if run is not None), None)

    def stop(self) -> None:
        """From now on whoever waits is sent elsewhere, so that a drain need not wait for them."""
        self._stopping = True
        for runner in self._runners.values():
            runner.wake()

    def cancel(self, specification: Specification) -> None:
        """Makes this front act on a cancel that is recorded."""
        if (runner := self._runners.get(specification.service)) is not None:
            runner.cancel(specification)

    async def read(self, operation: str) -> operations_pb2.Operation:
        """NotFound for an unknown one."""
        # Most reads are a watcher's, several a second: they should not cost the store anything.
        if (run := self.active(operation)) is not None and run.working:
            return _shown(run)
        return await asyncio.to_thread(self._recorded, operation)

    def _recorded(self, operation: str) -> operations_pb2.Operation:
        specification = self.records.specification(operation)
        metadata = _metadata(specification)
        metadata.cancel_requested = self.records.cancel_requested(operation)
        metadata.environment_change = self.records.environment_change(operation)
        found = self.records.result(operation)
        if found is not None:
            seen, end_unix_s = found
            metadata.end_time.FromNanoseconds(int(end_unix_s * 1e9))
            metadata.progress.steps_done = metadata.progress.steps_total = self.records.steps_done(operation)
        else:
            seen = operations_pb2.Operation(name=f"operations/{operation}")
            if (held := self.records.lease_content(operation)) is not None:
                metadata.progress.CopyFrom(from_json(held.get("progress", {})))
        seen.metadata.Pack(metadata, deterministic=True)
        return seen

    def next_change(self, operation: str) -> asyncio.Event | None:
        """For `until`; to be taken before the operation is read. None where it does not run in this process."""
        run = self.active(operation)
        return None if run is None else run.tracker.next_change()

    async def until(self, change: asyncio.Event | None) -> None:
        """Returns when something may have changed, at the latest after POLL_S. Unavailable once this front stops."""
        if change is None:
            await asyncio.sleep(POLL_S)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), POLL_S)
        if self._stopping:
            raise Unavailable("this server is stopping; ask again, and another will answer", reason="STOPPING")


def _metadata(specification: Specification) -> assay_operations_pb2.OperationMetadata:
    metadata = assay_operations_pb2.OperationMetadata(
        method=specification.method, caller=specification.caller, request_id=specification.request_id
    )
    metadata.create_time.FromNanoseconds(int(specification.create_unix_s * 1e9))
    return metadata


def _shown(run: Active) -> operations_pb2.Operation:
    metadata = _metadata(run.specification)
    metadata.cancel_requested = run.cancelled.is_set()
    metadata.environment_change = run.environment_change
    metadata.progress.CopyFrom(run.tracker.snapshot())
    seen = operations_pb2.Operation(name=f"operations/{run.specification.operation_id}")
    seen.metadata.Pack(metadata, deterministic=True)
    return seen


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
        records = self._view.records
        ids = await asyncio.to_thread(
            lambda: list(records.all_open_ids() if request.filter == "open" else records.all_ids())
        )
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
                while True:
                    change = self._view.next_change(operation)
                    if (seen := await self._view.read(operation)).done:
                        return seen
                    await self._view.until(change)
        return await self._view.read(operation)

    async def CancelOperation(  # noqa: N802
        self, request: operations_pb2.CancelOperationRequest, context: grpc.aio.ServicerContext
    ) -> empty_pb2.Empty:
        specification = await self._owned(id_of_name(request.name))
        operation = specification.operation_id
        if await asyncio.to_thread(self._view.records.result, operation) is None:
            await asyncio.to_thread(self._view.records.request_cancel, operation, current_call().caller)
            self._view.cancel(specification)
        return empty_pb2.Empty()

    async def DeleteOperation(  # noqa: N802
        self, request: operations_pb2.DeleteOperationRequest, context: grpc.aio.ServicerContext
    ) -> empty_pb2.Empty:
        operation = (await self._owned(id_of_name(request.name))).operation_id
        if await asyncio.to_thread(self._view.records.result, operation) is None:
            raise FailedPrecondition("the operation is not done; cancel it first, or wait for it")
        await asyncio.to_thread(self._view.records.delete, operation)
        return empty_pb2.Empty()

    async def _owned(self, operation: str) -> Specification:
        """The operation's specification; PermissionDenied unless the caller may end it."""
        specification = await asyncio.to_thread(self._view.records.specification, operation)
        caller = current_call().caller
        if caller != specification.caller and caller not in self._administrators:
            raise PermissionDenied("only who started an operation, or an administrator, may end it")
        return specification


def add_operations_to_server(servicer: OperationsServicer, server: grpc.aio.Server) -> None:
    """Registers the servicer by its methods' names.

    What googleapis-common-protos generated for this knows only grpc's older way, which hides the names.
    """
    methods = operations_pb2.DESCRIPTOR.services_by_name["Operations"].methods
    server.add_registered_method_handlers(
        "google.longrunning.Operations",
        {
            method.name: grpc.unary_unary_rpc_method_handler(
                getattr(servicer, method.name),
                GetMessageClass(method.input_type).FromString,
                GetMessageClass(method.output_type).SerializeToString,
            )
            for method in methods
        },
    )


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
            change = self._view.next_change(operation)
            seen = await self._view.read(operation)
            if (data := seen.SerializeToString(deterministic=True)) != last:
                last = data
                yield assay_operations_pb2.WatchOperationResponse(operation=seen)
            if seen.done:
                return
            await asyncio.sleep(MIN_WATCH_INTERVAL_S)
            await self._view.until(change)
