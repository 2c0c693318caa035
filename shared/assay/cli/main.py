"""`assay`: sub-commands of this package and of every installed service."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points

import click

from assay import __version__
from assay.cli.exit_codes import exit_code
from assay.errors import AssayError

ENTRY_POINTS = "assay.commands"
OWN = {
    "demo": "assay.cli.demo:demo",
    "operations": "assay.cli.operations:operations",
    "serve": "assay.cli.serve:serve",
}


class Commands(click.Group):
    """Imports a sub-command when it is used: a service's command need not be there for the others to work."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*OWN, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OWN:
            module, _, attribute = OWN[name].partition(":")
            return getattr(__import__(module, fromlist=[attribute]), attribute)  # type: ignore[no-any-return]
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            return entry.load()  # type: ignore[no-any-return]
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="assay")
def cli() -> None:
    """Measures, audits and speeds up large language models.

    Without --endpoint (or ASSAY_ENDPOINT) a command runs its service inside itself and keeps its work in the
    store that ASSAY_STORE names. Shell completion: eval "$(_ASSAY_COMPLETE=bash_source assay)", or zsh, fish.
    Exit codes: 2 bad input, 3 not found, 4 conflict, 5 precondition, 6 not applicable, 7 not allowed,
    8 exhausted, 9 unavailable, 10 damaged data, 130 cancelled, 1 anything else.
    """


def main() -> None:
    """Runs the command line; failures become one line on stderr (or JSON with --json) and an exit code."""
    try:
        result = cli.main(prog_name="assay", standalone_mode=False)
    except AssayError as error:
        if "--json" in sys.argv:
            report = {"error": {"code": error.code, "reason": error.reason, "message": error.message}}
            print(json.dumps(report), file=sys.stdout)
        else:
            click.echo(f"assay: {error.message}", err=True)
        sys.exit(exit_code(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("assay: interrupted", err=True)
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
