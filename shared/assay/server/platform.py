"""The embedded platform: every installed service in one process, engines included."""

from __future__ import annotations

from collections.abc import Sequence

from assay.artifacts.store import ArtifactStore
from assay.compute import LocalCompute
from assay.config import Config
from assay.engine.engine import Engine
from assay.engine.in_process import InProcessEngine, WorkSlots
from assay.engine.on_serve import ServeEngine
from assay.engine.step import Resources
from assay.errors import FailedPrecondition, InvalidInput
from assay.server.front import FrontServer
from assay.server.metrics import Metrics
from assay.server.service import Service, find_service, installed_services
from assay.server.settings import ServerSettings

IN_PROCESS = "in-process"


class Platform:
    """Fronts for `services`, with engines in this process or on the Ray Serve at `engine`."""

    def __init__(
        self,
        config: Config,
        settings: ServerSettings,
        metrics: Metrics,
        services: Sequence[str] = (),
        engine: str = IN_PROCESS,
    ) -> None:
        self._artifacts: ArtifactStore = config.open_artifacts()
        self._slots = WorkSlots()
        chosen = [find_service(name) for name in services or installed_services()]
        if not chosen:
            raise FailedPrecondition("no service is installed; for example: pip install assay-moe-router[engine]")
        engines = [(service, self._engine(service, engine)) for service in chosen]
        self.server = FrontServer(engines, self._artifacts, settings, metrics)

    async def start(self) -> str:
        """Serves; returns the address. Call `check_store` before."""
        return await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()
        self._slots.close()

    def check_store(self) -> None:
        """Raises FailedPrecondition for a store that cannot be used, such as one that ignores conditional writes.

        Unavailable for one that is away, which may come back: until it has shown itself, health says so.
        """
        self._artifacts.objects.check()

    def _engine(self, service: Service, engine: str) -> Engine:
        if engine == IN_PROCESS:
            return InProcessEngine(service.engine_module, Resources(self._artifacts, LocalCompute()), self._slots)
        if engine.startswith("serve://"):
            return ServeEngine(engine.removeprefix("serve://"), service.name)
        raise InvalidInput("engine", f"is {engine!r}; write {IN_PROCESS} or serve://host:port")
