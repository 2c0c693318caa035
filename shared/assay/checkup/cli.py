"""`assay checkup`: every service's answer about a model, on one report card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.checkup.summary import print_summary, summary
from assay.cli.arguments import MODEL, TEXT
from assay.cli.exit_codes import exit_code
from assay.cli.logs import log_file
from assay.cli.session import CommandSession, with_session
from assay.errors import FailedPrecondition

if TYPE_CHECKING:
    from assay.checkup.run import Card


@click.command()
@click.argument("model", type=MODEL)
@click.option("--services", metavar="A,B", default="", help="Ask only these; by default all there are.")
@click.option(
    "--text",
    type=TEXT,
    help="What to measure on: directory of text files, digest or label; by default the interpreter's standard library.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory that report.html and report.json are written to.",
)
@with_session()
def checkup(session: CommandSession, model: str, services: str, text: str | None, out: Path) -> int:
    """Asks every service about MODEL and writes one report card.

    MODEL is a directory as save_pretrained writes it, or the digest or label of a stored model. Services are found
    at --endpoint, or at ASSAY_<SERVICE>_ENDPOINT and ASSAY_ENDPOINT, or else inside this command. One that fails or
    does not apply is told of on the card; the exit code is that of the failure only where no service answered.
    """
    from assay.checkup.run import check_up
    from assay.checkup.targets import targets

    with targets(services.split(","), endpoint=session.endpoint, config=session.config) as asked:
        if not asked:
            raise FailedPrecondition("no service is served there; start one, or name another endpoint")
        card = check_up(asked, model, text, out)
    return report(session, card)


def report(session: CommandSession, card: Card) -> int:
    """Prints what the card says in short, and gives the command's exit code."""
    session.emit(summary(card), lambda: print_summary(card))
    # A service inside this command leaves its traceback on this machine.
    if any(answer.error and answer.error.code == "INTERNAL" and not answer.where for answer in card.answers):
        click.echo(f"assay: what went wrong in this command is told in {log_file()}", err=True)
    return exit_code(card.error) if card.error else 0
