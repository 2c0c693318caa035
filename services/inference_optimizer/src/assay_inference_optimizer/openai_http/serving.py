"""Serving the facade until a signal says stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import grpc.aio
import uvicorn

from assay.errors import FailedPrecondition, InvalidInput
from assay_inference_optimizer.openai_http.app import application

GRACE_S = 5


def serve_http(
    open_channel: Callable[[], grpc.aio.Channel],
    listen: str,
    *,
    api_key: str = "",
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Until SIGTERM or SIGINT. open_channel: to a front; called in the loop. listen: host:port, port 0 for a free one.

    on_ready: called with the address once it takes calls. FailedPrecondition where it cannot be listened on.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput("--listen", f"is {listen!r}; write HOST:PORT")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), int(port)))
        except (OSError, OverflowError) as error:
            raise FailedPrecondition(f"cannot listen on {listen} ({error}); is another server there?") from error
        address = f"{host}:{listening.getsockname()[1]}"
        asyncio.run(_serve(open_channel, listening, api_key, lambda: on_ready(address)))


async def _serve(
    open_channel: Callable[[], grpc.aio.Channel], listening: socket.socket, api_key: str, ready: Callable[[], None]
) -> None:
    async with open_channel() as channel:
        config = uvicorn.Config(
            application(channel, api_key=api_key),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )
        await _Server(config, ready).serve(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it takes calls."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
