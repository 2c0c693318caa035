"""What every command shares: where to connect, how to answer, how progress shows."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from assay.cli.progress import Meter, meter
from assay.client.connection import Connection, connect
from assay.config import Config


class CommandSession:
    """One run of a command. service: the one it talks to; "" for whichever answers (artifacts)."""

    def __init__(self, service: str, endpoint: str | None, as_json: bool) -> None:
        self.service = service
        self.endpoint = endpoint
        self.as_json = as_json
        self.config = Config.from_environment()

    @contextmanager
    def connection(self, service: str | None = None) -> Iterator[Connection]:
        with connect(service or self.service, self.endpoint, config=self.config) as connection:
            yield connection

    @contextmanager
    def progress(self, title: str) -> Iterator[Meter]:
        with meter(title) as made:
            yield made

    def emit(self, document: Mapping[str, Any], human: Callable[[], None]) -> None:
        """Prints `document` with --json, and what `human` prints without."""
        if self.as_json:
            json.dump(document, sys.stdout, ensure_ascii=False, indent=1)
            sys.stdout.write("\n")
        else:
            human()


def command(group: click.Group, name: str | None = None, *, service: str = "") -> Callable[[Any], click.Command]:
    """Adds a function to `group` as a command with --endpoint and --json; it gets a CommandSession first."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @click.option(
            "--endpoint",
            metavar="HOST:PORT",
            help="Where the service runs; by default ASSAY_ENDPOINT, or else inside this command.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
        @functools.wraps(function)
        def run(*arguments: Any, endpoint: str | None, as_json: bool, **options: Any) -> Any:
            return function(CommandSession(service, endpoint, as_json), *arguments, **options)

        return group.command(name)(run)

    return decorate
