"""`assay serve`: the installed services, up until stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import click

from assay.config import Config
from assay.errors import FailedPrecondition


@click.command()
@click.argument("services", nargs=-1)
@click.option("--listen", metavar="HOST:PORT", help="Address to serve on (ASSAY_LISTEN; 127.0.0.1:50051).")
@click.option(
    "--engine",
    default="in-process",
    show_default=True,
    help="in-process; ray, for a Ray cluster of its own on this machine; or serve://HOST:PORT for a Ray Serve.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line once it is up.")
def serve(services: tuple[str, ...], listen: str | None, engine: str, as_json: bool) -> None:
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
        store = config.store.partition("?")[0]
        if as_json:
            click.echo(json.dumps({"address": address, "store": store}))
            return
        click.echo(f"assay is up on {address}  (store {store})")
        click.echo(f"try: ASSAY_ENDPOINT={address} assay checkup MODEL")

    with _placed(engine, services, config) as where:
        run(services, settings, config, engine=where, on_ready=ready)


@contextlib.contextmanager
def _placed(engine: str, services: Sequence[str], config: Config) -> Iterator[str]:
    """Where the steps run; starts and ends a local Ray for "ray"."""
    if engine != "ray":
        yield engine
        return
    from assay.engine.local_ray import EngineSpec, local_ray
    from assay.engine.serve_wire import TOKEN_VARIABLE
    from assay.server.service import find_service, installed_services

    chosen = [find_service(name) for name in services or installed_services()]
    click.echo("starting Ray on this machine; about 20 seconds", err=True)
    # Until the server takes signals over, one must still end Ray.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    with local_ray([EngineSpec(s.name, s.engine_module) for s in chosen], config.store) as cluster:
        os.environ[TOKEN_VARIABLE] = cluster.token  # for the engines' client in this process
        yield f"serve://{cluster.address}"
