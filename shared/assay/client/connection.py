"""A connection to one service, wherever it runs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.message import Message

from assay.artifacts.remote import RemoteArtifacts
from assay.client.embedded import EmbeddedPlatform
from assay.client.errors import error_from_rpc
from assay.config import Config, endpoint_of
from assay.errors import AssayError, Cancelled, DeadlineExceeded, FailedPrecondition, Internal, Unavailable
from assay.operations.v1 import operations_pb2 as assay_operations_pb2
from assay.operations.v1 import operations_pb2_grpc as assay_operations_pb2_grpc
from assay.status import from_status
from assay.telemetry import current_traceparent

ResultT = TypeVar("ResultT", bound=Message)
OnProgress = Callable[[assay_operations_pb2.OperationMetadata], None]

CALL_TIMEOUT_S = 60.0
ATTEMPTS = 5
WATCH_PATIENCE_S = 300.0
STOP_PATIENCE_S = 5.0
REACH_PATIENCE_S = 3.0
OPTIONS = [
    ("grpc.max_receive_message_length", 4 * 2**20),
    ("grpc.max_send_message_length", 4 * 2**20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Programs of one process must not share a channel by accident of equal addresses.
    ("grpc.use_local_subchannel_pool", 1),
]


def ignore_progress(metadata: assay_operations_pb2.OperationMetadata) -> None:
    """Listens to nothing."""


class Connection:
    """channel: a synchronous grpc channel. Every failure is raised as the AssayError the server sent."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    @cached_property
    def artifacts(self) -> RemoteArtifacts:
        return RemoteArtifacts(self.channel)

    def call(self, method: Callable[..., Any], request: Message, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Calls a stub's unary method; tries again while the service is away (every method bears repeating)."""
        metadata = [("x-request-id", uuid.uuid4().hex)]
        if traceparent := current_traceparent():
            metadata.append(("traceparent", traceparent))
        deadline = time.monotonic() + timeout_s
        away: Unavailable | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                left_s = max(0.001, deadline - time.monotonic())
                return method(request, timeout=left_s, metadata=metadata, wait_for_ready=attempt > 1)
            except grpc.RpcError as raw:
                error = error_from_rpc(raw)
                if away is not None and isinstance(error, DeadlineExceeded):
                    raise away from None  # the wait was for a service that never came back
                away = error if isinstance(error, Unavailable) else None
                pause_s = (error.retry_after_s or 0.0) * 2 ** (attempt - 1)
                if not error.retry_after_s or attempt == ATTEMPTS or time.monotonic() + pause_s > deadline:
                    raise error from None
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def run(
        self,
        method: Callable[..., Any],
        request: Message,
        result: type[ResultT],
        *,
        on_progress: OnProgress = ignore_progress,
    ) -> ResultT:
        """Starts the operation behind `method`, waits for it and returns its result.

        Interrupted by Ctrl-C, it cancels the operation before the interrupt goes on.
        """
        operation = self.call(method, request).operation
        try:
            return self.result(self.wait(operation, on_progress), result)
        except KeyboardInterrupt:
            self.stop(operation)
            raise

    def wait(
        self, operation: operations_pb2.Operation, on_progress: OnProgress = ignore_progress
    ) -> operations_pb2.Operation:
        """The operation once it is done. Watches again where the stream is cut."""
        stub = assay_operations_pb2_grpc.OperationWatchServiceStub(self.channel)
        request = assay_operations_pb2.WatchOperationRequest(name=operation.name)
        lost_since: float | None = None
        while True:
            try:
                for event in stub.WatchOperation(request):
                    lost_since = None
                    metadata = assay_operations_pb2.OperationMetadata()
                    if event.operation.metadata.Unpack(metadata):
                        on_progress(metadata)
                    if event.operation.done:
                        return event.operation
                error: AssayError = Unavailable("the watch ended before the operation did")
            except grpc.RpcError as raw:
                error = error_from_rpc(raw)
                if not isinstance(error, Unavailable | Cancelled):
                    raise error from None
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > WATCH_PATIENCE_S:
                raise error
            time.sleep(1.0)

    @staticmethod
    def result(operation: operations_pb2.Operation, kind: type[ResultT]) -> ResultT:
        """The response of a finished operation; raises the error it failed with."""
        if operation.WhichOneof("result") == "error":
            raise from_status(operation.error)
        message = kind()
        if not operation.response.Unpack(message):
            raise Internal(f"the operation's response is no {kind.DESCRIPTOR.name}; align client and server versions")
        return message

    def cancel(self, operation: operations_pb2.Operation, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Asks an operation to stop."""
        stub = operations_pb2_grpc.OperationsStub(self.channel)
        request = operations_pb2.CancelOperationRequest(name=operation.name)
        self.call(stub.CancelOperation, request, timeout_s=timeout_s)

    def stop(self, operation: operations_pb2.Operation, *, patience_s: float = STOP_PATIENCE_S) -> None:
        """Cancels an operation and waits a little for its end; never raises an AssayError: the caller is leaving."""
        stub = operations_pb2_grpc.OperationsStub(self.channel)
        request = operations_pb2.WaitOperationRequest(name=operation.name)
        request.timeout.FromMilliseconds(int(patience_s * 1e3))
        with suppress(AssayError):
            self.cancel(operation, timeout_s=patience_s)
            self.call(stub.WaitOperation, request, timeout_s=patience_s + 1.0)

    def check_reachable(self, address: str, *, patience_s: float = REACH_PATIENCE_S) -> None:
        """Raises Unavailable where nothing answers at `address`, which this connection was opened to."""
        try:
            grpc.channel_ready_future(self.channel).result(timeout=patience_s)
        except grpc.FutureTimeoutError:
            raise Unavailable(
                f"nothing that can be talked to answers at {address}; check the endpoint, that it is served, and "
                "ASSAY_TLS_CA where it is served with TLS"
            ) from None


@contextmanager
def connect(service: str, endpoint: str | None = None, *, config: Config | None = None) -> Iterator[Connection]:
    """A connection to `service` at `endpoint`, at ASSAY_<SERVICE>_ENDPOINT or ASSAY_ENDPOINT, or else embedded.

    TLS where ASSAY_TLS_CA names the authority of the server's certificate; with ASSAY_TLS_CLIENT_CERT and
    ASSAY_TLS_CLIENT_KEY the client proves who it is.
    """
    address = endpoint or endpoint_of(service)
    if address:
        with _open(address, tls_credentials(os.environ)) as channel:
            yield Connection(channel)
        return
    with embedded(config or Config.from_environment()) as connection:
        yield connection


def aio_channel(address: str) -> grpc.aio.Channel:
    """An asyncio channel to `address`, with TLS as of `connect` unless it is a socket file; the caller closes it."""
    credentials = None if address.startswith("unix:") else tls_credentials(os.environ)
    if credentials is None:
        return grpc.aio.insecure_channel(address, OPTIONS)
    return grpc.aio.secure_channel(address, credentials, OPTIONS)


@contextmanager
def embedded(config: Config) -> Iterator[Connection]:
    """A connection to the installed services, run inside this process."""
    platform = EmbeddedPlatform(config)
    address = platform.start()
    try:
        with _open(address, None) as channel:
            yield Connection(channel)
    finally:
        platform.stop()


@contextmanager
def _open(address: str, credentials: grpc.ChannelCredentials | None) -> Iterator[grpc.Channel]:
    channel = (
        grpc.insecure_channel(address, OPTIONS)
        if credentials is None
        else grpc.secure_channel(address, credentials, OPTIONS)
    )
    with channel:
        yield channel


def tls_credentials(environment: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """Of ASSAY_TLS_CA, ASSAY_TLS_CLIENT_CERT and ASSAY_TLS_CLIENT_KEY; None where no authority is named: plaintext."""
    authority, certificate, key = (
        environment.get(name) for name in ("ASSAY_TLS_CA", "ASSAY_TLS_CLIENT_CERT", "ASSAY_TLS_CLIENT_KEY")
    )
    if not authority:
        return None
    try:
        return grpc.ssl_channel_credentials(
            Path(authority).read_bytes(),
            Path(key).read_bytes() if key else None,
            Path(certificate).read_bytes() if certificate else None,
        )
    except OSError as error:
        raise FailedPrecondition(f"TLS file {error.filename} cannot be read; check ASSAY_TLS_*") from error
