"""The platform inside this process, for callers who name no endpoint."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

from assay.config import Config
from assay.errors import FailedPrecondition


class EmbeddedPlatform:
    """Serves every installed service on a Unix socket only this user can reach, from a thread of its own.

    Started by `start`, ended by `stop`; unfinished operations stay in the store and go on with the next one.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = Path(tempfile.mkdtemp(prefix="assay-", dir=_short_temporary_directory()))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="assay-platform", daemon=True)

    def start(self) -> str:
        """The endpoint. Raises FailedPrecondition where no service is installed."""
        try:
            from assay.server.metrics import Metrics
            from assay.server.platform import Platform
            from assay.server.settings import ServerSettings
        except ModuleNotFoundError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise FailedPrecondition(
                "no endpoint is given and no service is installed; set --endpoint or ASSAY_ENDPOINT, or "
                "pip install 'assay-moe-router[engine]'"
            ) from error
        from prometheus_client import CollectorRegistry

        self._thread.start()
        settings = ServerSettings(listen=f"unix:{self._folder}/s", drain_s=0.0, grace_s=1.0)

        async def begin() -> str:
            self._platform = Platform(self._config, settings, Metrics(CollectorRegistry()))
            await asyncio.to_thread(self._platform.check_store)
            return await self._platform.start()

        try:
            return self._wait(asyncio.run_coroutine_threadsafe(begin(), self._loop))
        except BaseException:
            self._end_loop()
            raise

    def stop(self) -> None:
        try:
            self._wait(asyncio.run_coroutine_threadsafe(self._platform.stop(), self._loop))
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _wait(future: Future[str] | Future[None]) -> str:
        return future.result() or ""


def _short_temporary_directory() -> str | None:
    """Socket paths end after about 100 bytes; None where the usual directory is short enough."""
    return "/tmp" if len(tempfile.gettempdir()) > 60 and os.access("/tmp", os.W_OK) else None
