"""Serving until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence

from prometheus_client import start_http_server

from assay.config import Config
from assay.errors import Unavailable
from assay.server.logs import configure_logs
from assay.server.metrics import Metrics
from assay.server.platform import IN_PROCESS, Platform
from assay.server.settings import ServerSettings
from assay.telemetry import configure

log = logging.getLogger(__name__)


def serve(
    services: Sequence[str],
    settings: ServerSettings,
    config: Config,
    *,
    engine: str = IN_PROCESS,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises FailedPrecondition for a store that cannot be used."""
    configure_logs(os.environ.get("ASSAY_LOG_LEVEL", "INFO"))
    name = "-".join(("assay", *services))
    configure(name, otlp_endpoint=config.otlp_endpoint, console=settings.trace_console)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    asyncio.run(_serve(services, settings, config, engine, on_ready))


async def _serve(
    services: Sequence[str],
    settings: ServerSettings,
    config: Config,
    engine: str,
    on_ready: Callable[[str], None],
) -> None:
    platform = Platform(config, settings, Metrics(), services, engine)
    with contextlib.suppress(Unavailable):  # a store that is away may come back; health says so meanwhile
        await asyncio.to_thread(platform.check_store)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    on_ready(await platform.start())
    await stopping.wait()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(name)  # whoever asks a second time does not want to wait
    log.info("draining")
    await platform.stop()
