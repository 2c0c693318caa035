"""`assay operations`: what runs, and stopping it."""

from __future__ import annotations

from typing import Any

import click
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import json_format
from rich.console import Console
from rich.table import Table

from assay.cli.session import CommandSession, command
from assay.operations.v1 import operations_pb2 as assay_operations_pb2


@click.group()
def operations() -> None:
    """Long-running work: list, watch, cancel."""


def _state(operation: operations_pb2.Operation) -> str:
    if not operation.done:
        return "running"
    return "failed" if operation.WhichOneof("result") == "error" else "done"


def _metadata(operation: operations_pb2.Operation) -> assay_operations_pb2.OperationMetadata:
    metadata = assay_operations_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def _document(operation: operations_pb2.Operation) -> dict[str, Any]:
    metadata = json_format.MessageToDict(_metadata(operation), preserving_proto_field_name=True)
    return {"name": operation.name, "state": _state(operation), "error": operation.error.message, **metadata}


@command(operations, "ls")
@click.option("--state", type=click.Choice(["open", "done"]), help="Only these.")
def list_operations(session: CommandSession, state: str | None) -> None:
    """Lists operations in the store."""
    with session.connection() as connection:
        stub = operations_pb2_grpc.OperationsStub(connection.channel)
        found: list[operations_pb2.Operation] = []
        request = operations_pb2.ListOperationsRequest(filter=state or "")
        while True:
            page = connection.call(stub.ListOperations, request)
            found.extend(page.operations)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token

    def human() -> None:
        table = Table("name", "method", "state", "progress")
        for operation in found:
            metadata = _metadata(operation)
            progress = f"{metadata.progress.steps_done}/{metadata.progress.steps_total} {metadata.progress.stage}"
            table.add_row(operation.name, metadata.method.rpartition("/")[2], _state(operation), progress)
        Console().print(table)

    session.emit({"operations": [_document(operation) for operation in found]}, human)


@command(operations, "watch")
@click.argument("name")
def watch_operation(session: CommandSession, name: str) -> None:
    """Shows an operation's progress until it ends."""
    with session.connection() as connection, session.progress(name) as progress:
        finished = connection.wait(operations_pb2.Operation(name=name), progress.operation)
    session.emit(
        _document(finished), lambda: click.echo(f"{name}: {_state(finished)} {finished.error.message}".rstrip())
    )


@command(operations, "cancel")
@click.argument("name")
def cancel_operation(session: CommandSession, name: str) -> None:
    """Stops an operation; what it committed stays."""
    with session.connection() as connection:
        connection.cancel(operations_pb2.Operation(name=name))
    session.emit({"name": name, "cancel_requested": True}, lambda: click.echo(f"{name}: asked to stop"))
