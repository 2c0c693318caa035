"""Starting, watching and reading the probe's operations, as a client does."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import grpc
import grpc.aio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.wrappers_pb2 import StringValue

from assay.operations.v1 import operations_pb2 as assay_operations_pb2
from assay.operations.v1 import operations_pb2_grpc as assay_operations_pb2_grpc
from probe.service import FULL_NAME, SHARDS

Metadata = assay_operations_pb2.OperationMetadata
TOTAL_STEPS = SHARDS + 1


def start(channel: grpc.Channel | grpc.aio.Channel, name: str, value: str, request_id: str = "", **options):  # type: ignore[no-untyped-def]
    """Begins Digest, Spin or FailLater; on an asyncio channel the answer has to be awaited."""
    method = channel.unary_unary(
        f"/{FULL_NAME}/{name}", StringValue.SerializeToString, operations_pb2.Operation.FromString
    )
    return method(StringValue(value=f"{request_id or uuid.uuid4()}|{value}"), **options)


def operations(channel: grpc.Channel | grpc.aio.Channel) -> operations_pb2_grpc.OperationsStub:
    return operations_pb2_grpc.OperationsStub(channel)


def get(channel, operation, **options):  # type: ignore[no-untyped-def]
    return operations(channel).GetOperation(operations_pb2.GetOperationRequest(name=operation.name), **options)


def cancel(channel, operation, **options):  # type: ignore[no-untyped-def]
    return operations(channel).CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name), **options)


def delete(channel, operation, **options):  # type: ignore[no-untyped-def]
    return operations(channel).DeleteOperation(operations_pb2.DeleteOperationRequest(name=operation.name), **options)


def wait(channel, operation, seconds: float | None = None, **options):  # type: ignore[no-untyped-def]
    request = operations_pb2.WaitOperationRequest(name=operation.name)
    if seconds is not None:
        request.timeout.FromNanoseconds(int(seconds * 1e9))
    return operations(channel).WaitOperation(request, **options)


def watch(channel, operation, **options):  # type: ignore[no-untyped-def]
    stub = assay_operations_pb2_grpc.OperationWatchServiceStub(channel)
    return stub.WatchOperation(assay_operations_pb2.WatchOperationRequest(name=operation.name), **options)


def metadata_of(operation: operations_pb2.Operation) -> Metadata:
    metadata = Metadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


def digest_of(operation: operations_pb2.Operation) -> str:
    """The result of a Digest that has ended well."""
    answer = StringValue()
    assert operation.done
    assert operation.response.Unpack(answer), operation.error
    return answer.value


def computed(ledger: Path) -> list[str]:
    """The shards whose computation the probe's engines have noted, in the order they ended."""
    return [line.split()[1] for line in ledger.read_text().splitlines()]


def expected_digest() -> str:
    """What Digest must give, worked out here: a hash of hashes, 20 rounds each."""

    def rounds(value: str) -> str:
        for _ in range(20):
            value = hashlib.sha256(value.encode()).hexdigest()
        return value

    return rounds(",".join(rounds(str(shard)) for shard in range(SHARDS)))
