"""Arguments that many commands take, with what a shell may complete them to."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem

from assay.errors import AssayError

MAX_LABELS = 100


class ArtifactArgument(click.ParamType[str]):
    """A directory here, or an artifact by digest, prefix or label. Completed to directories, and to the labels of a
    store on this machine once something is typed that none of them denies."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        labels = _labels(incomplete) if incomplete else []
        # Shells complete either words or directories.
        return [CompletionItem(label) for label in labels] or [CompletionItem(incomplete, type="dir")]


class ReferenceArgument(click.ParamType[str]):
    """An artifact by digest, prefix or label; completed to the labels of a store on this machine."""

    name = "reference"

    def shell_complete(self, context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(label) for label in _labels(incomplete)]


MODEL, TEXT, REFERENCE = ArtifactArgument("model"), ArtifactArgument("text"), ReferenceArgument()


def _labels(incomplete: str) -> list[str]:
    from assay.config import Config

    found: list[str] = []
    with suppress(AssayError, OSError):
        config = Config.from_environment()
        if config.store.startswith("file:"):  # one across a network may take its time
            names = (label.name for label in config.open_artifacts().labels())
            found = list(islice((name for name in names if name.startswith(incomplete)), MAX_LABELS))
    return found
