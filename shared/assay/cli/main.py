"""`assay`: sub-commands of this package and of every installed service."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from assay import __version__
from assay.cli.exit_codes import exit_code
from assay.cli.logs import log_to_file
from assay.cli.words import one_line
from assay.errors import AssayError, FailedPrecondition, InvalidInput

ENTRY_POINTS = "assay.commands"
# Where each command is, and what --help says of it: said here, so that nothing need be imported to list them.
OWN = {
    "artifacts": ("assay.artifacts.cli:artifacts", "What is stored: models, texts, reports; get, put, lineage, gc."),
    "capacity": ("assay.capacity.cli:capacity", "Replicas, GPUs and cost for a traffic; autoscaling simulated."),
    "checkup": ("assay.checkup.cli:checkup", "Asks every service about a model; writes one report card."),
    "demo": ("assay.cli.demo:demo", "Trains a small model here and writes its report card."),
    "operations": ("assay.cli.operations:operations", "Long-running work: list, watch, cancel."),
    "platform": ("assay.platform.cli:platform", "On Kubernetes: preflight, install, upgrade, status, smoke, bundle."),
    "serve": ("assay.cli.serve:serve", "Serves the installed services until stopped."),
    "zoo": ("assay.zoo.cli:zoo", "Small real models, trained here from local text."),
}


class Commands(click.Group):
    """Imports a sub-command when it is used: a service's command need not be there for the others to work."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*OWN, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OWN:
            module, _, attribute = OWN[name][0].partition(":")
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            return _load(entry)
        return None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._abouts(context).items()))

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [
            CompletionItem(name, help=about)
            for name, about in self._abouts(context).items()
            if name.startswith(incomplete)
        ]
        # Not Group's, which would import every command.
        return items + click.Command.shell_complete(self, context, incomplete)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            # click itself would end with 1, as if something had failed.
            raise _ReaderLeft from None

    def _abouts(self, context: click.Context) -> dict[str, str]:
        theirs = {entry.name: _summary(entry) for entry in entry_points(group=ENTRY_POINTS)}
        return {name: OWN[name][1] if name in OWN else theirs[name] for name in self.list_commands(context)}


class _ReaderLeft(Exception):
    """Nobody reads standard output any more."""


def _load(entry: EntryPoint) -> click.Command:
    try:
        return entry.load()  # type: ignore[no-any-return]
    except ImportError as error:
        distribution = entry.dist.name if entry.dist else entry.name
        raise FailedPrecondition(
            f"the command {entry.name} cannot be loaded ({error}); install {distribution} again"
        ) from error


def _summary(entry: EntryPoint) -> str:
    """A service's line is the summary of its distribution."""
    return one_line(str(entry.dist.metadata.json.get("summary", ""))) if entry.dist else ""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="assay")
def cli() -> None:
    """Measures, audits and speeds up large language models.

    Without --endpoint (or ASSAY_ENDPOINT) a command runs its service inside itself and keeps its work in the store
    that ASSAY_STORE names.

    Shell completion: eval "$(_ASSAY_COMPLETE=bash_source assay)"; or zsh_source, fish_source.

    Exit codes: 2 bad input, 3 not found, 4 conflict, 5 precondition, 6 not applicable, 7 not allowed, 8 exhausted, 9
    unavailable, 10 damaged data, 130 cancelled, 1 anything else.
    """


def main() -> NoReturn:
    """Runs the command line; failures become one line on stderr (with --json one document as well) and a code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Whoever asks politely is treated as Ctrl-C: operations are cancelled.
    signal.signal(signal.SIGTERM, _interrupt)
    logged = log_to_file()
    try:
        result = cli.main(prog_name="assay", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else 0)
    except AssayError as error:
        where = f"; see {logged}" if error.code == "INTERNAL" and logged.exists() else ""
        fail(error, where)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # a group without a command: its help, as it stands
        sys.exit(error.exit_code)
    except click.ClickException as error:
        fail(_usage(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("assay: interrupted", err=True)
        _leave(130)
    except (_ReaderLeft, BrokenPipeError):
        # Whoever read our output has enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("ASSAY_DEBUG"):
            traceback.print_exc()
        click.echo(
            f"assay: a defect: {type(error).__name__}: {one_line(str(error))}; ASSAY_DEBUG=1 shows where", err=True
        )
        sys.exit(1)


def fail(error: AssayError, where: str = "") -> NoReturn:
    """Says what is wrong on one line of stderr, with --json on stdout too, and ends with the code of its kind."""
    if "--json" in sys.argv:
        from assay.cli.session import print_json

        violations = [{"field": v.field, "description": v.description} for v in error.violations]
        report = {"code": error.code, "reason": error.reason, "message": error.message, "violations": violations}
        print_json({"error": report})
    click.echo(f"assay: {one_line(error.message)}{where}", err=True)
    sys.exit(exit_code(error))


def _leave(code: int) -> NoReturn:
    """Ends at once: what had to be put in order is, and a thread amid importing PyTorch would be waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _usage(error: click.ClickException) -> AssayError:
    """click's own complaints, with where to read on."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "assay"
    message = error.format_message().strip().rstrip(".")
    return InvalidInput("", f"{message}; see `{path} --help`", reason="USAGE")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
