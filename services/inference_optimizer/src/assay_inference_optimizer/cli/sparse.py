"""`inspect`, `quality`, `plan`: which blocks are chosen, what that costs, how few will do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assay.cli.arguments import MODEL
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.cli.group import SERVICE, inference_optimizer
from assay_inference_optimizer.cli.request import (
    SELECTIONS,
    density_option,
    document_of,
    model_digest,
    run,
    sparse_config,
    sparse_options,
    text_options,
    text_selection,
)


@command(inference_optimizer, "inspect", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--text", help="A text file, directory of them, digest or label; by default the standard library.")
@click.option("--length", type=int, default=0, help="Tokens read.  [default: 512, or what the model reads]")
@density_option()
@click.option("--method", type=click.Choice(list(SELECTIONS)), default="sketch_walk", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the heat map (SVG).")
@sparse_options
def inspect(session: CommandSession, model: str, length: int, out: Path | None, **options: Any) -> None:
    """Shows which blocks MODEL's layers attend to on a text."""
    options |= {"sequences": 1, "sequence_tokens": length, "split": ""}
    with session.connection() as connection:
        request = api.InspectSelectionRequest(
            request_id=str(uuid.uuid4()),
            model=model_digest(session, connection, model),
            text=text_selection(session, connection, options),
            sparse=sparse_config(options),
        )
        result = run(session, connection, "InspectSelection", request, api.InspectSelectionResult, "reading")
        stored = json.loads(connection.artifacts.read(result.selection, "selection.json"))
        if out is not None:
            out.write_bytes(connection.artifacts.read(result.selection, "heat-map.svg"))
    chosen = {layer["layer"]: [block["key_blocks"] for block in layer["query_blocks"]] for layer in stored["layers"]}
    layers = [
        {
            "layer": layer.layer,
            "density": layer.density,
            "fallback": layer.fallback or None,
            "mass": layer.mass if layer.HasField("mass") else None,
            "oracle_mass": layer.oracle_mass if layer.HasField("oracle_mass") else None,
            "blocks": chosen[layer.layer],
        }
        for layer in result.layers
    ]
    document = {
        "density": result.density,
        "tokens": result.tokens,
        "block_size": result.block_size,
        "layers": layers,
        "selection": result.selection,
    }

    def human() -> None:
        print_table(
            ("layer", "density", "attention held", "best choice", "last query block attends to"),
            [
                (
                    layer.layer,
                    f"{layer.density:.3f}",
                    f"{layer.mass:.3f}" if layer.HasField("mass") else "",
                    f"{layer.oracle_mass:.3f}" if layer.HasField("oracle_mass") else "",
                    _blocks(chosen[layer.layer][-1]) if chosen[layer.layer] else f"all, since it {layer.fallback}",
                )
                for layer in result.layers
            ],
        )
        click.echo(f"density {result.density:.3f} over {result.tokens:,} tokens, blocks of {result.block_size}")
        click.echo(f"selection {result.selection}")

    session.emit(document, human)


@command(inference_optimizer, "quality", service=SERVICE)
@click.argument("model", type=MODEL)
@text_options("32")
@density_option()
@click.option(
    "--methods",
    default=",".join(SELECTIONS),
    show_default=True,
    help="Ways to choose blocks, separated by commas.",
)
@sparse_options
def quality(session: CommandSession, model: str, methods: str, **options: Any) -> None:
    """Mean loss of MODEL on a text under each way to choose blocks, at equal counted density."""
    names = [name.strip().replace("-", "_") for name in methods.split(",") if name.strip()]
    if unknown := [name for name in names if name not in SELECTIONS]:
        raise InvalidInput("--methods", f"names {unknown[0]}; there are {', '.join(SELECTIONS)}")
    with session.connection() as connection:
        request = api.CompareSelectionRequest(
            request_id=str(uuid.uuid4()),
            model=model_digest(session, connection, model),
            text=text_selection(session, connection, options),
            selections=[SELECTIONS[name] for name in names],
            sparse=sparse_config(options),
        )
        result = run(session, connection, "CompareSelection", request, api.CompareSelectionResult, "comparing")
    named = {value: name for name, value in SELECTIONS.items()}
    rows = [(named[method.selection], method) for method in result.methods]
    document = {
        "nll": {name: method.loss_nats for name, method in rows},
        "density": {name: method.density for name, method in rows},
        "methods": [{"method": name, **document_of(method, without=("selection",))} for name, method in rows],
        "sequences": result.sequences,
        "sequence_tokens": result.sequence_tokens,
        "comparison": result.comparison,
    }

    def human() -> None:
        print_table(
            ("method", "density", "NLL, nats per token", "rise over dense"),
            [
                (name, f"{method.density:.4f}", f"{method.loss_nats:.4f}", _interval(method.increase_nats))
                for name, method in rows
            ],
        )
        click.echo(f"on {result.sequences} sequences of {result.sequence_tokens} tokens; 95 % paired bootstrap")

    session.emit(document, human)


@command(inference_optimizer, "plan", service=SERVICE)
@click.argument("model", type=MODEL)
@text_options("16")
@click.option("--max-loss-increase", type=float, default=0.0, help="Nats per token.  [default: 0.01]")
@click.option("--length", type=int, default=0, help="Prompt that speed is predicted for.  [default: the context]")
@sparse_options
def plan(session: CommandSession, model: str, max_loss_increase: float, length: int, **options: Any) -> None:
    """Finds sparse attention of MODEL within a quality budget, tested on half of the text."""
    with session.connection() as connection:
        request = api.PlanSparsityRequest(
            request_id=str(uuid.uuid4()),
            model=model_digest(session, connection, model),
            text=text_selection(session, connection, options),
            max_loss_increase_nats=max_loss_increase,
            sparse=sparse_config({**options, "density": None}),
            length=length,
        )
        result = run(session, connection, "PlanSparsity", request, api.PlanSparsityResult, "planning")

    def human() -> None:
        print_table(("layer", "density"), [(layer.layer, f"{layer.density:.3f}") for layer in result.layers])
        if not result.within_budget:
            click.echo("nothing sparser than dense attention was shown to keep within the budget")
        click.echo(f"loss {result.dense_loss_nats:.4f} -> {result.loss_nats:.4f}, {_interval(result.increase_nats)}")
        click.echo(
            f"predicted, by multiplications: attention {result.predicted_attention_ratio:.2f}x, prefill of "
            f"{result.length:,} tokens {result.predicted_prefill_ratio:.2f}x"
        )
        click.echo(f"plan {result.plan}")

    session.emit(document_of(result), human)


def _interval(interval: api.Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _blocks(blocks: Sequence[int]) -> str:
    """Runs of consecutive blocks as a - b."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
