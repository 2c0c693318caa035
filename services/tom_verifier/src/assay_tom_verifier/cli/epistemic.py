"""`mc`: dynamic epistemic logic, model-checked."""

from __future__ import annotations

from textwrap import shorten

import click

from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.errors import InvalidInput
from assay.tom_verifier.v1 import epistemic_pb2
from assay_tom_verifier.cli.group import SERVICE, tom_verifier
from assay_tom_verifier.cli.request import FILE, LONG_CALL_S, document_of, read_text, stub_of
from assay_tom_verifier.requests import EXAMPLES

BACKENDS = {"explicit": epistemic_pb2.EPISTEMIC_BACKEND_EXPLICIT, "bdd": epistemic_pb2.EPISTEMIC_BACKEND_BDD}
SHOWN = 100  # characters of a claim; `--json` has all


@command(tom_verifier, "mc", service=SERVICE)
@click.argument("file", type=FILE, required=False)
@click.option("--example", type=click.Choice(EXAMPLES), help="A puzzle, in place of FILE.")
@click.option("--n", type=click.IntRange(0, 10_000), default=0, help="The example's size.  [default: its own]")
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default="explicit",
    show_default=True,
    help="Worlds listed, or as a binary decision diagram.",
)
@click.option("--max-worlds", type=click.IntRange(min=0), default=0, help="Listed at once, of the explicit backend.")
@click.option("--show", is_flag=True, help="Print the text that was run, too.")
def mc(
    session: CommandSession, file: str | None, example: str | None, n: int, backend: str, max_worlds: int, show: bool
) -> None:
    """Runs FILE: a model, updates and claims, from top to bottom."""
    if (file is None) == (example is None):
        raise InvalidInput("FILE", "or --example: give one of them")
    if n and example is None:
        raise InvalidInput("--n", "is an example's size; leave it out beside FILE, or give --example")
    request = epistemic_pb2.ModelCheckRequest(backend=BACKENDS[backend], max_worlds=max_worlds)
    if example is not None:
        request.example.name, request.example.n = example, n
    elif file is not None:
        request.text = read_text(file, "FILE")
    with session.connection() as connection:
        answer = connection.call(stub_of(connection).ModelCheck, request, timeout_s=LONG_CALL_S)
    document = document_of(answer)
    document["nodes"], document["worlds"] = answer.nodes, int(answer.worlds)
    if not show:
        del document["text"]

    def human() -> None:
        if show:
            click.echo(answer.text or request.text)
        print_table(
            ("line", "holds", "claim"),
            [
                (verdict.line, "yes" if verdict.holds else "no", shorten(verdict.formula, SHOWN, placeholder=" ..."))
                for verdict in answer.verdicts
            ],
            right=("line",),
        )
        nodes = f", {answer.nodes:,} nodes" if answer.nodes else ""
        click.echo(f"{answer.rounds} rounds, {answer.seconds:.3f} s, {answer.worlds:,.0f} worlds{nodes}")

    session.emit(document, human)
