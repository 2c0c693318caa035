"""What a failed call raises: the server's own error where it sent one, else what the status code says."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from assay.errors import AssayError, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, from_code
from assay.status import from_status

DETAILS_KEY = "grpc-status-details-bin"


def error_from_rpc(error: grpc.RpcError) -> AssayError:
    """The AssayError behind `error`; works for the synchronous and the asyncio client."""
    code = error.code()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    details = error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("the service cannot be reached; check the endpoint and that it is running")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ResourceExhausted(f"{details}; send less in one message, or ask for less")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the service did not answer in time; it may be busy, try again")
    if code is None:
        return Internal("the call ended without a status")
    return from_code(code.name, details or f"the service answered {code.name}")
