"""What every command shares: where to connect, how to answer, how progress shows."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from assay.cli.progress import Meter, meter
from assay.config import Config, endpoint_of

if TYPE_CHECKING:
    from assay.client.connection import Connection


class CommandSession:
    """One run of a command. service: the one it talks to; "" for whichever answers (artifacts)."""

    def __init__(self, service: str, endpoint: str | None, as_json: bool) -> None:
        self.service = service
        self.endpoint = endpoint
        self.as_json = as_json
        self.config = Config.from_environment()

    @contextmanager
    def connection(self, service: str | None = None) -> Iterator[Connection]:
        """Raises Unavailable where nothing answers at the endpoint within a few seconds."""
        # With it comes grpc, which a command's help does not need.
        from assay.client.connection import connect

        name = service or self.service
        with connect(name, self.endpoint, config=self.config) as connection:
            if address := self.endpoint or endpoint_of(name):
                connection.check_reachable(address)
            yield connection

    @contextmanager
    def progress(self, title: str) -> Iterator[Meter]:
        with meter(title) as made:
            yield made

    def emit(self, document: Mapping[str, Any], human: Callable[[], None]) -> None:
        """Prints `document` with --json, and what `human` prints without."""
        if self.as_json:
            print_json(document)
        else:
            human()


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout, readable by people too."""
    utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    json.dump(document, sys.stdout, ensure_ascii=not utf8, indent=1)
    sys.stdout.write("\n")


def command(group: click.Group, name: str | None = None, *, service: str = "") -> Callable[[Any], click.Command]:
    """Adds a function to `group` as a command with --endpoint and --json; it gets a CommandSession first."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return group.command(name)(with_session(service)(function))

    return decorate


def with_session(service: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a function --endpoint and --json, and a CommandSession as its first argument."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--endpoint",
            metavar="HOST:PORT",
            help="Where the service runs; by default ASSAY_ENDPOINT, or else inside this command.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
        @functools.wraps(function)
        def run(*arguments: Any, endpoint: str | None, as_json: bool, **options: Any) -> Any:
            return function(CommandSession(service, endpoint, as_json), *arguments, **options)

        return run

    return decorate
