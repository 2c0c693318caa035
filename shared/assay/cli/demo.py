"""`assay demo`: from nothing to a report card on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.session import CommandSession
from assay.zoo.recipes import recipe as recipe_of

RECIPE = "qwen3-moe-tiny"


@click.command()
@click.option("--recipe", default=RECIPE, show_default=True, help="What to train; see `assay zoo list`.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory that report.html and report.json are written to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(recipe: str, seed: int, out: Path, as_json: bool) -> int:
    """Trains a small mixture-of-experts model from text found here, and writes its report card.

    Everything runs in this command, on this machine. The model is kept in the store that ASSAY_STORE names, so that a
    second run does not train it again.
    """
    from assay.checkup.cli import report
    from assay.checkup.run import check_up
    from assay.checkup.targets import targets
    from assay.checkup.write import check_destination
    from assay.zoo.cli import train_into_store

    session = CommandSession("", None, as_json)
    recipe_of(recipe)
    check_destination(out)
    # Before minutes of training, not after: without a service there is nothing to ask about the model.
    with targets((), endpoint=None, config=session.config, here=True) as asked:
        trained = train_into_store(session.config, recipe, seed)
        card = check_up(asked, trained.model, trained.text, out)
    return report(session, card)
