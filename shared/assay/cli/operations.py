"""`assay operations`: what runs, and stopping it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from assay.cli.session import CommandSession, command
from assay.cli.words import one_line

if TYPE_CHECKING:
    from google.longrunning import operations_pb2

    from assay.operations.v1 import operations_pb2 as assay_operations_pb2


@click.group()
def operations() -> None:
    """Long-running work: list, watch, cancel. NAME is operations/ and 32 hex digits, or the digits alone."""


@command(operations, "ls")
@click.option("--state", type=click.Choice(["open", "done"]), help="Only these.")
def list_operations(session: CommandSession, state: str | None) -> None:
    """Lists operations in the store."""
    from google.longrunning import operations_pb2, operations_pb2_grpc

    from assay.cli.tables import print_table

    found: list[operations_pb2.Operation] = []
    with session.connection() as connection:
        stub = operations_pb2_grpc.OperationsStub(connection.channel)
        request = operations_pb2.ListOperationsRequest(filter=state or "")
        while True:
            page = connection.call(stub.ListOperations, request)
            found.extend(page.operations)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    rows = []
    for operation in found:
        metadata = _metadata(operation)
        progress = f"{metadata.progress.steps_done}/{metadata.progress.steps_total} {metadata.progress.stage}"
        begun = metadata.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
        rows.append((operation.name, metadata.method.rpartition(".")[2], begun, _state(operation), progress))
    document = {"operations": [_document(operation) for operation in found]}
    session.emit(document, lambda: print_table(("name", "method", "began (UTC)", "state", "progress"), rows))


@command(operations, "watch")
@click.argument("name")
def watch_operation(session: CommandSession, name: str) -> int:
    """Shows an operation's progress until it ends; its failure becomes the exit code."""
    from google.longrunning import operations_pb2

    from assay.cli.exit_codes import exit_code
    from assay.status import from_status

    with session.connection() as connection, session.progress(_full(name)) as progress:
        finished = connection.wait(operations_pb2.Operation(name=_full(name)), progress.operation)
    outcome = one_line(f"{_full(name)}: {_state(finished)} {finished.error.message}")
    session.emit(_document(finished), lambda: click.echo(outcome))
    return exit_code(from_status(finished.error)) if finished.WhichOneof("result") == "error" else 0


@command(operations, "cancel")
@click.argument("name")
def cancel_operation(session: CommandSession, name: str) -> None:
    """Stops an operation; what it committed stays."""
    from google.longrunning import operations_pb2

    with session.connection() as connection:
        connection.cancel(operations_pb2.Operation(name=_full(name)))
    document = {"name": _full(name), "cancel_requested": True}
    session.emit(document, lambda: click.echo(f"{_full(name)}: asked to stop"))


@command(operations, "delete")
@click.argument("names", nargs=-1, required=True)
def delete_operations(session: CommandSession, names: tuple[str, ...]) -> None:
    """Forgets finished operations, so that `assay artifacts gc` may collect what only they kept."""
    from google.longrunning import operations_pb2, operations_pb2_grpc

    deleted = [_full(name) for name in names]
    with session.connection() as connection:
        stub = operations_pb2_grpc.OperationsStub(connection.channel)
        for name in deleted:
            connection.call(stub.DeleteOperation, operations_pb2.DeleteOperationRequest(name=name))
    session.emit({"deleted": deleted}, lambda: click.echo(f"{len(deleted)} forgotten"))


def _full(name: str) -> str:
    return f"operations/{name}" if re.fullmatch(r"[0-9a-f]{32}", name) else name


def _state(operation: operations_pb2.Operation) -> str:
    if not operation.done:
        return "running"
    return "failed" if operation.WhichOneof("result") == "error" else "done"


def _metadata(operation: operations_pb2.Operation) -> assay_operations_pb2.OperationMetadata:
    from assay.operations.v1 import operations_pb2 as assay_operations_pb2

    metadata = assay_operations_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def _document(operation: operations_pb2.Operation) -> dict[str, Any]:
    from google.protobuf import json_format
    from google.rpc import code_pb2

    metadata = json_format.MessageToDict(_metadata(operation), preserving_proto_field_name=True)
    failed = operation.WhichOneof("result") == "error"
    error = {"code": code_pb2.Code.Name(operation.error.code), "message": operation.error.message} if failed else None
    return {"name": operation.name, "state": _state(operation), "error": error, **metadata}
