"""What commands ask of the service, and how what comes back is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message

from assay.cli.session import CommandSession
from assay.client.connection import Connection
from assay.client.inputs import model_artifact, text_artifact
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc

SELECTIONS = {
    "dense": api.SELECTION_DENSE,
    "oracle": api.SELECTION_ORACLE,
    "sketch_walk": api.SELECTION_SKETCH_WALK,
    "one_hop": api.SELECTION_ONE_HOP,
    "sink_window": api.SELECTION_SINK_WINDOW,
    "random": api.SELECTION_RANDOM,
}
VARIANTS = {"icml": api.SPARSE_VARIANT_ICML, "v1": api.SPARSE_VARIANT_V1}
SCOPES = {"sparse-layers": api.DENSITY_SCOPE_SPARSE_LAYERS, "all-layers": api.DENSITY_SCOPE_ALL_LAYERS}
LITERAL_CHARACTERS = 10**6  # of a file of text: what one message holds, whatever the characters; longer ones are stored
FILE_SPLIT = "test"  # what a stored file is, whatever measures on it


def sparse_options(function: Any) -> Any:
    for option in (
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the sketch."),
        click.option("--degree", type=int, help="Steps of the walk.  [default: 3]"),
        click.option("--damping", type=float, help="Weight of the walk.  [default: 0.25]"),
        click.option("--window-tokens", type=int, help="Before the query, always attended to.  [default: 128]"),
        click.option("--sink-tokens", type=int, help="At the start, always attended to.  [default: 64]"),
        click.option("--dense-layers", type=int, help="First layers that stay dense.  [default: 2]"),
        click.option("--density-scope", type=click.Choice(list(SCOPES)), default="sparse-layers", show_default=True),
        click.option("--sketch-dim", type=int, help="Coordinates kept of a head.  [default: all]"),
        click.option("--block-size", type=int, help="Tokens in a block.  [default: 64]"),
        click.option("--variant", type=click.Choice(list(VARIANTS)), default="icml", show_default=True),
    ):
        function = option(function)
    return function


def density_option(default: float | None = 0.2) -> Callable[[Any], Any]:
    shown = f"  [default: {default:g}]" if default else "; dense without it"
    return click.option("--density", type=float, default=default, help=f"Attended over causal pairs{shown}")


def text_options(sequences: str, tokens: str = "as many as it was trained on, or 512") -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in (
            click.option("--split", default="", help="Split of a text that has them."),
            click.option("--sequence-tokens", type=int, default=0, help=f"Tokens in a sequence.  [default: {tokens}]"),
            click.option(
                "--sequences", type=int, default=0, help=f"Spread evenly over the text.  [default: {sequences}]"
            ),
            click.option(
                "--text",
                help="A text file; or a directory of them, digest or label; by default the standard library.",
            ),
        ):
            function = option(function)
        return function

    return decorate


def run(session: CommandSession, connection: Connection, method: str, request: Message, result: Any, title: str) -> Any:
    with session.progress(title) as progress:
        return connection.run(getattr(stub_of(connection), method), request, result, on_progress=progress.operation)


def sparse_config(options: dict[str, Any]) -> api.SparseConfig:
    optional = ("damping", "degree", "sink_tokens", "window_tokens", "dense_layers")
    given = {name: options[name] for name in optional if options.get(name) is not None}
    if options.get("density") is not None:
        given["target_density"] = options["density"]
    return api.SparseConfig(
        variant=VARIANTS[options["variant"]],
        selection=SELECTIONS[options.get("method") or "sketch_walk"],
        block_size=options["block_size"] or 0,
        sketch_dim=options["sketch_dim"] or 0,
        density_scope=SCOPES[options["density_scope"]],
        seed=options["seed"],
        **given,
    )


def text_selection(session: CommandSession, connection: Connection, options: dict[str, Any]) -> api.TextSelection:
    selection = api.TextSelection(
        split=options["split"], sequences=options["sequences"], sequence_tokens=options["sequence_tokens"]
    )
    argument = options["text"]
    if argument and Path(argument).is_file():
        try:
            text = Path(argument).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput("--text", f"{argument} cannot be read as UTF-8 text") from error
        if not text.strip():
            raise InvalidInput("--text", f"{argument} holds no text")
        if len(text) <= LITERAL_CHARACTERS:
            selection.literal = text
            return selection
        row = json.dumps({"text": text, "domain": ""}).encode() + b"\n"
        with session.progress("storing the text") as progress:
            files = {f"{FILE_SPLIT}.jsonl": row}
            selection.text = connection.artifacts.put("text", files, parameters={"source": "file"}, progress=progress)
        selection.split = FILE_SPLIT
        return selection
    with session.progress("storing the text") as progress:
        selection.text = text_artifact(connection.artifacts, argument, progress=progress).digest
    return selection


def model_digest(session: CommandSession, connection: Connection, argument: str) -> str:
    with session.progress("storing the model") as progress:
        return model_artifact(connection.artifacts, argument, progress=progress).digest


def stub_of(connection: Connection) -> Any:
    return inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)


def document_of(message: Message, *, without: Sequence[str] = ()) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: value for name, value in document.items() if name not in without}
