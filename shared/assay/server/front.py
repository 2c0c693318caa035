"""A front: one grpc.aio server with its services, their helpers and their health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from assay.artifacts.servicer import ArtifactServicer
from assay.artifacts.store import ArtifactStore
from assay.artifacts.v1 import artifacts_pb2_grpc
from assay.checkup.servicer import CheckupServicer
from assay.checkup.v1 import checkup_pb2_grpc
from assay.engine.engine import Engine
from assay.errors import FailedPrecondition
from assay.operations.records import OperationRecords
from assay.operations.runner import Operations
from assay.operations.servicer import (
    OperationsServicer,
    OperationView,
    WatchServicer,
    add_operations_to_server,
)
from assay.operations.v1 import operations_pb2_grpc as watch_pb2_grpc
from assay.server.guard import Guard
from assay.server.health import DependencyCheck, Health
from assay.server.metrics import Metrics
from assay.server.service import Front, MethodPolicy, Service
from assay.server.settings import ServerSettings
from assay.server.tls import mutual_tls

MESSAGE_BYTES = 4 * 2**20
STORE_THREADS = 64
HELPERS = (
    "assay.artifacts.v1.ArtifactService",
    "assay.checkup.v1.CheckupService",
    "assay.operations.v1.OperationWatchService",
    "google.longrunning.Operations",
    "grpc.health.v1.Health",
)
DAY_S = 24 * 3600.0
LONG_STREAM = MethodPolicy(default_deadline_s=DAY_S, max_deadline_s=DAY_S, max_concurrent=1024)
HELPER_POLICIES = {
    "/assay.artifacts.v1.ArtifactService/ReadFile": MethodPolicy(3600, 3600, 128),
    "/assay.artifacts.v1.ArtifactService/UploadBlob": MethodPolicy(3600, 3600, 128),
    "/assay.artifacts.v1.ArtifactService/CreateArtifact": MethodPolicy(300, 600, 64),
    "/assay.operations.v1.OperationWatchService/WatchOperation": LONG_STREAM,
    "/google.longrunning.Operations/WaitOperation": LONG_STREAM,
    "/grpc.health.v1.Health/Watch": LONG_STREAM,
    "/grpc.health.v1.Health/Check": MethodPolicy(max_concurrent=1024),
}

log = logging.getLogger(__name__)


class FrontServer:
    """Serves `services` (each with its engine) over one store. Call `start`, later `stop`."""

    def __init__(
        self,
        services: Sequence[tuple[Service, Engine]],
        artifacts: ArtifactStore,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._engines = {service.full_name: engine for service, engine in services}
        records = OperationRecords(artifacts.objects)
        self.fronts = {service.name: _front(service, engine, artifacts, records) for service, engine in services}
        self._view = OperationView(records, [front.operations for front in self.fronts.values()])
        self._health = Health(
            {service.full_name: _dependencies(engine, artifacts) for service, engine in services}, metrics
        )
        self._guard = Guard(settings, metrics, _policies(self.fronts))
        self._servers: list[grpc.aio.Server] = []
        self.address = self.health_address = ""

    async def start(self) -> str:
        """Binds, serves and resumes what a dead front left; returns the address bound."""
        # Python's own number of threads follows the cores; these wait for the store, not for the CPU.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(STORE_THREADS, "assay-store"))
        server = grpc.aio.server(options=_options())
        self._register(server)
        tls = self._settings.tls
        self.address = self.health_address = _bind(server, self._settings.listen, mutual_tls(tls) if tls else None)
        self._servers = [server]
        if self._settings.transport == "mtls":
            probes = grpc.aio.server(options=_options())
            self._health.add_to_server(probes)
            self.health_address = _bind(probes, self._settings.health_listen, None)
            self._servers.append(probes)
        await self._health.begin()
        for running in self._servers:
            await running.start()
        for front in self.fronts.values():
            front.operations.resume()
        log.info("serving %s on %s", ", ".join(self.fronts), self.address)
        return self.address

    async def stop(self) -> None:
        """Drains: not ready, a pause for balancers to notice, no new calls, watchers are sent elsewhere, calls in
        flight end, work is left where its last step was committed."""
        await self._health.drain()
        await asyncio.sleep(self._settings.drain_s)
        self._view.stop()
        await asyncio.gather(*(server.stop(self._settings.grace_s) for server in self._servers))
        await asyncio.gather(*(front.operations.close() for front in self.fronts.values()))
        await self._health.end()
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    async def wait(self) -> None:
        await self._servers[0].wait_for_termination()

    def _register(self, server: grpc.aio.Server) -> None:
        guarded = self._guard.around(server)
        for front in self.fronts.values():
            front.service.add_to_server(guarded, front)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactServicer(self._artifacts), guarded)
        checkup_pb2_grpc.add_CheckupServiceServicer_to_server(CheckupServicer(self.fronts), guarded)
        watch_pb2_grpc.add_OperationWatchServiceServicer_to_server(WatchServicer(self._view), guarded)
        operations = OperationsServicer(self._view, self._settings.administrators)
        add_operations_to_server(operations, guarded)
        self._health.add_to_server(guarded)
        names = (*self._engines, *HELPERS, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(names), guarded)
        guarded.check_complete()


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    try:
        port = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot listen on {address}; is another server there already?") from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _front(service: Service, engine: Engine, artifacts: ArtifactStore, records: OperationRecords) -> Front:
    jobs = service.jobs if service.examine is None else (*service.jobs, service.examine)
    return Front(service, engine, artifacts, Operations(service.name, jobs, engine, records))


def _policies(fronts: Mapping[str, Front]) -> dict[str, MethodPolicy]:
    own = {
        f"/{front.service.full_name}/{method}": policy
        for front in fronts.values()
        for method, policy in front.service.policies.items()
    }
    return {**HELPER_POLICIES, **own}


def _dependencies(engine: Engine, artifacts: ArtifactStore) -> DependencyCheck:
    proved = False

    async def check() -> None:
        nonlocal proved
        if proved:
            await asyncio.to_thread(artifacts.objects.head, "probes/health")
        else:
            # A store that was away when the front started has yet to show that it honours conditional writes.
            await asyncio.to_thread(artifacts.objects.check)
            proved = True
        await engine.check()

    return check


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
