"""`assay zoo`: the models that can be trained here, and training them into the artifact store."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import platformdirs
from click.shell_completion import CompletionItem

from assay.cancel import CancelToken
from assay.cli.progress import meter
from assay.cli.session import print_json
from assay.config import Config
from assay.errors import FailedPrecondition, InvalidInput
from assay.zoo.recipes import RECIPES
from assay.zoo.recipes import recipe as recipe_of
from assay.zoo.store import ensure_model, ensure_text, find_model


def complete_recipe(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recipes that begin so, for the shell."""
    return [CompletionItem(r.name, help=r.about) for r in RECIPES.values() if r.name.startswith(incomplete)]


@click.group()
def zoo() -> None:
    """Small real models, trained here from local text and kept in the store that ASSAY_STORE names."""


@zoo.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_recipes(as_json: bool) -> None:
    """The recipes."""
    if as_json:
        print_json({"recipes": [recipe.to_json() for recipe in RECIPES.values()]})
        return
    width = max(map(len, RECIPES))
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name:{width}}  {recipe.about}")


@zoo.command()
@click.argument("recipe", shell_complete=complete_recipe)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--text",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of .py, .txt, .md or .rst files; by default the interpreter's standard library.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also copy the model's directory there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def train(recipe: str, seed: int, text: Path | None, out: Path | None, as_json: bool) -> None:
    """Trains RECIPE, or finds it where it was trained before. Interrupted, it goes on where it stopped."""
    recipe_of(recipe)
    if out is not None and out.exists():
        raise InvalidInput("out", f"{out} exists already; give a new directory")
    config = Config.from_environment()
    trained = train_into_store(config, recipe, seed, text=text)
    artifacts = config.open_artifacts()
    parameters = artifacts.manifest(trained.model).parameters
    if out is not None:
        shutil.copytree(artifacts.path(trained.model), out, copy_function=shutil.copyfile)
    if as_json:
        print_json({"model": trained.model, "text": trained.text, "cached": trained.cached, "parameters": parameters})
    else:
        _print_human(trained.model, trained.cached, parameters)


@dataclass(frozen=True)
class Trained:
    """model, text: digests. cached: whether it was there before."""

    model: str
    text: str
    cached: bool


def train_into_store(config: Config, recipe: str, seed: int, *, text: Path | None = None) -> Trained:
    """The model of a recipe in the store, trained now, with progress on stderr, unless it is there.

    text: a directory; None for the standard library. Raises NotFound for an unknown recipe, FailedPrecondition
    without PyTorch, Cancelled on Ctrl-C.
    """
    chosen = recipe_of(recipe)
    artifacts = config.open_artifacts()
    artifacts.objects.check()
    try:
        source = ensure_text(artifacts, text)
        cached = find_model(artifacts, chosen, seed=seed, text=source) is not None
        with _cancelled_by_interrupt() as cancel, meter(f"{recipe} (seed {seed})") as progress:
            digest = ensure_model(
                artifacts,
                chosen,
                seed=seed,
                cancel=cancel,
                progress=progress,
                text=source,
                checkpoints=Path(platformdirs.user_state_dir("assay")) / "training",
            )
    except ModuleNotFoundError as error:
        raise FailedPrecondition(
            f"training needs the package {error.name}; pip install 'assay-platform[models]'"
        ) from error
    return Trained(digest, source, cached)


def _print_human(digest: str, cached: bool, parameters: Mapping[str, Any]) -> None:
    held_out = parameters["held_out"]
    click.echo(f"model       {digest}{'  (trained earlier)' if cached else ''}")
    if "accuracy_one_hop" in held_out:
        click.echo(f"recall      {held_out['accuracy_one_hop']:.3f} over one hop, of {held_out['questions']} questions")
        click.echo(f"            {held_out['accuracy_two_hops']:.3f} over two hops")
        click.echo(f"            {held_out['chance']:.3f} by naming any of the {held_out['pairs']} values")
        return
    click.echo(f"perplexity  {held_out['perplexity']:.1f} per token on {held_out['tokens']} tokens of the test split")
    click.echo(f"            {held_out['unigram_perplexity']:.1f} from token frequencies alone")
    click.echo(f"            {held_out['byte_perplexity']:.2f} per byte ({held_out['nats_per_byte']:.3f} nats)")
    if held_out.get("repeated_loss_nats") is not None:
        click.echo(f"repeats     {held_out['repeated_loss_nats']:.3f} nats per token of passages that come back")


@contextmanager
def _cancelled_by_interrupt() -> Iterator[CancelToken]:
    """A token that Ctrl-C cancels, so that training stops between two steps and keeps its state."""
    cancel = CancelToken()
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = signal.signal(signal.SIGINT, lambda *_: cancel.cancel())
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
