"""What commands ask of the service, and how what comes back is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from assay.cli.session import CommandSession
from assay.client.connection import Connection
from assay.client.errors import error_from_rpc
from assay.client.inputs import model_artifact, text_artifact
from assay.errors import InvalidInput
from assay.tom_verifier.v1 import stories_pb2, tom_verifier_pb2_grpc, traces_pb2
from assay_tom_verifier.core.bigtom import is_bigtom, read_bigtom
from assay_tom_verifier.core.evaluate import read_row

PROFILES = {
    "hitom": stories_pb2.SEMANTICS_PROFILE_HITOM,
    "common_knowledge": stories_pb2.SEMANTICS_PROFILE_COMMON_KNOWLEDGE,
}
ENGINES = {"table": stories_pb2.BELIEF_ENGINE_TABLE, "del": stories_pb2.BELIEF_ENGINE_DEL}
FILE = click.Path(dir_okay=False, allow_dash=True)
OUT = click.Path(dir_okay=False, path_type=Path)
LONG_CALL_S = 1800.0
BATCH_BYTES, BATCH_ROWS = 2**20, 5_000  # of rows in one message, so that every row's verdict fits the reply


def profile_option(function: Any) -> Any:
    return click.option(
        "--profile",
        type=click.Choice(list(PROFILES)),
        default="hitom",
        show_default=True,
        help="How claims change beliefs about beliefs.",
    )(function)


def engine_option(function: Any) -> Any:
    return click.option(
        "--engine",
        type=click.Choice(list(ENGINES)),
        default="table",
        show_default=True,
        help="Tables of beliefs, or dynamic epistemic logic; they agree.",
    )(function)


def read_text(path: str, name: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(name, f"{path} cannot be read as UTF-8 text") from error


def read_rows(path: str, name: str) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line."""
    return [row for _, row in _numbered_rows(path, name)]


def _numbered_rows(path: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(read_text(path, name).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidInput(name, f"{path} line {number} is no JSON object") from error
        if not isinstance(row, dict):
            raise InvalidInput(name, f"{path} line {number} is no JSON object")
        rows.append((number, row))
    if not rows:
        raise InvalidInput(name, f"{path} holds no row; give one JSON object a line")
    return rows


def labelled_rows(path: str, name: str) -> Iterator[traces_pb2.LabelledRow]:
    """A file's rows in the form of Hi-ToM's, each in its group of prompting/length/deception/order; or of BigToM's, six
    each. InvalidInput for one that is neither, with its line."""
    for number, record in _numbered_rows(path, name):
        try:
            found = [each.labelled() for each in read_bigtom(record)] if is_bigtom(record) else [read_row(record)]
        except InvalidInput as error:
            raise InvalidInput(name, f"{path} line {number}: {error.message}") from error
        yield from (traces_pb2.LabelledRow(**asdict(row)) for row in found)


def batches(rows: Iterable[traces_pb2.LabelledRow]) -> Iterator[list[traces_pb2.LabelledRow]]:
    """As many rows at once as a message holds comfortably."""
    batch: list[traces_pb2.LabelledRow] = []
    size = 0
    for row in rows:
        if batch and (size + row.ByteSize() > BATCH_BYTES or len(batch) == BATCH_ROWS):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.ByteSize()
    if batch:
        yield batch


def stream(method: Callable[..., Any], request: Message) -> Iterator[Any]:
    """The replies of a streaming method; raises the AssayError that it ended with."""
    try:
        yield from method(request)
    except grpc.RpcError as raw:
        raise error_from_rpc(raw) from None


def run(session: CommandSession, connection: Connection, method: str, request: Message, result: Any, title: str) -> Any:
    with session.progress(title) as progress:
        return connection.run(getattr(stub_of(connection), method), request, result, on_progress=progress.operation)


def stub_of(connection: Connection) -> Any:
    return tom_verifier_pb2_grpc.TomVerifierServiceStub(connection.channel)


def model_digest(session: CommandSession, connection: Connection, argument: str) -> str:
    with session.progress("storing the model") as progress:
        return model_artifact(connection.artifacts, argument, progress=progress).digest


def text_digest(session: CommandSession, connection: Connection, argument: str | None) -> str:
    with session.progress("storing the text") as progress:
        return text_artifact(connection.artifacts, argument, progress=progress).digest


def document_of(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def chain_text(agents: Iterable[str]) -> str:
    return " > ".join(agents) or "really"


def belief_text(belief: stories_pb2.Belief) -> str:
    return belief.container if belief.HasField("container") else "cannot tell"


def belief_answer(belief: stories_pb2.Belief) -> str:
    """As data sets write it."""
    return belief.container if belief.HasField("container") else "Null"
