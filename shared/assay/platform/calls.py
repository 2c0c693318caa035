"""Real calls to a service: its health, a method of its own that changes nothing, its operations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assay.errors import AssayError

if TYPE_CHECKING:
    import grpc

SERVING = 1
TIMEOUT_S = 10.0
# What a service says of an empty request when it has read it: the way there and back is whole.
ANSWERS = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE"})


def health(channel: grpc.Channel, service: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether the service, its store and its engine answer. Raises the error that the call ended with."""
    name = service.encode()
    # HealthCheckRequest{service = 1}; HealthCheckResponse{status = 1}: not worth a further package.
    answer = _call(channel, "/grpc.health.v1.Health/Check", bytes([0x0A, len(name)]) + name, timeout_s)
    return answer[:2] == bytes([0x08, SERVING])


def harmless_method(service: str) -> str | None:
    """A unary method of `service` (assay.moe_router.v1.MoeRouterService) that its proto calls free of side effects."""
    package, _, name = service.rpartition(".")
    short = package.removesuffix(".v1").rpartition(".")[2]
    try:
        module = importlib.import_module(f"{package}.{short}_pb2")
        methods = module.DESCRIPTOR.services_by_name[name].methods
    except (ImportError, KeyError):
        return None
    harmless = [
        method.name
        for method in methods
        if method.GetOptions().idempotency_level == 1 and not (method.client_streaming or method.server_streaming)
    ]
    asking = [each for each in harmless if each.startswith(("Get", "List", "Describe", "Parse"))]
    return next(iter([*asking, *harmless]), None)


def ask(channel: grpc.Channel, service: str, method: str, timeout_s: float = TIMEOUT_S) -> str:
    """Calls it with an empty request; the code that came back. Raises where the service itself has not answered."""
    try:
        _call(channel, f"/{service}/{method}", b"", timeout_s)
    except AssayError as error:
        if error.code in ANSWERS:
            return error.code
        raise
    return "OK"


def open_operations(channel: grpc.Channel, service: str, timeout_s: float = TIMEOUT_S) -> int:
    """How many of the service's operations have not ended, as its front knows them from the store."""
    from google.longrunning import operations_pb2

    from assay.operations.v1 import operations_pb2 as assay_operations_pb2

    count, request = 0, operations_pb2.ListOperationsRequest(filter="open", page_size=1000)
    while True:
        answer = _call(channel, "/google.longrunning.Operations/ListOperations", request.SerializeToString(), timeout_s)
        page = operations_pb2.ListOperationsResponse.FromString(answer)
        for operation in page.operations:
            metadata = assay_operations_pb2.OperationMetadata()
            operation.metadata.Unpack(metadata)
            count += metadata.method.strip("/").replace("/", ".").startswith(f"{service}.")
        if not page.next_page_token:
            return count
        request.page_token = page.next_page_token


def _call(channel: grpc.Channel, path: str, request: bytes, timeout_s: float) -> bytes:
    import grpc

    from assay.client.errors import error_from_rpc

    method: Any = channel.unary_unary(path)
    try:
        return bytes(method(request, timeout=timeout_s, wait_for_ready=False))
    except grpc.RpcError as error:
        raise error_from_rpc(error) from None
