"""Health in three names, so that a store outage neither restarts fronts nor takes them out of service.

"live": the loop answers. "": started and not draining. The service's full name: store and engine answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse, HealthListRequest, HealthListResponse

from assay.errors import AssayError
from assay.server.metrics import Metrics

LIVE, READY = "live", ""
CHECK_INTERVAL_S = 5.0
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING

log = logging.getLogger(__name__)

DependencyCheck = Callable[[], Awaitable[None]]


class ListingHealthServicer(HealthServicer):
    """Google's servicer with the List method that its asyncio form lacks."""

    async def List(  # noqa: N802
        self, request: HealthListRequest, context: grpc.aio.ServicerContext
    ) -> HealthListResponse:
        statuses = {name: HealthCheckResponse(status=status) for name, status in self._server_status.items()}
        return HealthListResponse(statuses=statuses)


class Health:
    """dependencies: by full service name, a check that raises an AssayError while something is away."""

    def __init__(self, dependencies: Mapping[str, DependencyCheck], metrics: Metrics) -> None:
        self._servicer = ListingHealthServicer()
        self._dependencies = dependencies
        self._metrics = metrics
        self._watching: asyncio.Task[None] | None = None
        self._reasons: dict[str, str] = {}

    def add_to_server(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def begin(self) -> None:
        """Live and ready; dependencies are watched from now on."""
        await self._servicer.set(LIVE, SERVING)
        for name in self._dependencies:
            await self._servicer.set(name, NOT_SERVING)
        await self.check_dependencies()
        await self._servicer.set(READY, SERVING)
        self._watching = asyncio.create_task(self._watch())

    async def drain(self) -> None:
        """Not ready any more; still live."""
        await self._servicer.set(READY, NOT_SERVING)

    async def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def check_dependencies(self) -> None:
        await asyncio.gather(*(self._check(name, check) for name, check in self._dependencies.items()))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            await self.check_dependencies()

    async def _check(self, name: str, check: DependencyCheck) -> None:
        try:
            await check()
            reason = ""
        except AssayError as error:
            reason = error.message
        except Exception:
            reason = "the check itself failed"
            log.exception("dependency check of %s failed", name)
        if self._reasons.get(name) != reason:
            self._reasons[name] = reason
            log.log(logging.WARNING if reason else logging.INFO, "%s: %s", name, reason or "dependencies answer")
        self._metrics.healthy.labels(name).set(0 if reason else 1)
        await self._servicer.set(name, NOT_SERVING if reason else SERVING)
