"""`assay serve`: the installed services, up until stopped."""

from __future__ import annotations

import dataclasses

import click

from assay.config import Config
from assay.errors import FailedPrecondition


@click.command()
@click.argument("services", nargs=-1)
@click.option("--listen", metavar="HOST:PORT", help="Address to serve on (ASSAY_LISTEN; 127.0.0.1:50051).")
@click.option(
    "--engine", default="in-process", show_default=True, help="in-process, or serve://HOST:PORT for Ray Serve."
)
def serve(services: tuple[str, ...], listen: str | None, engine: str) -> None:
    """Serves SERVICES (all installed ones by default) until Ctrl-C or SIGTERM.

    Transport, TLS, allow list, metrics and drain times are set by ASSAY_* variables: see docs/running.md.
    """
    try:
        from assay.server.run import serve as run
        from assay.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise FailedPrecondition("serving needs more packages; pip install 'assay-platform[server]'") from error

    settings = ServerSettings.from_environment()
    if listen:
        settings = dataclasses.replace(settings, listen=listen)
    config = Config.from_environment()

    def ready(address: str) -> None:
        click.echo(f"assay is up on {address}  (store {config.store.partition('?')[0]})")
        click.echo(f"try: ASSAY_ENDPOINT={address} assay moe-router describe MODEL")

    run(services, settings, config, engine=engine, on_ready=ready)
