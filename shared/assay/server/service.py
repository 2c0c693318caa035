"""What a service tells the chassis about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.longrunning import operations_pb2
from google.protobuf.message import Message

from assay.errors import InvalidInput, NotFound
from assay.server.call import current_call

if TYPE_CHECKING:
    from assay.artifacts.store import ArtifactStore
    from assay.engine.engine import Engine
    from assay.operations.job import Job
    from assay.operations.runner import Operations

ENTRY_POINTS = "assay.services"


@dataclass(frozen=True)
class MethodPolicy:
    """Bounds of one method. A caller without a deadline gets the default; a longer one is cut to the maximum."""

    default_deadline_s: float = 30.0
    max_deadline_s: float = 600.0
    max_concurrent: int = 64


@dataclass(frozen=True)
class Service:
    """One service: what a front needs to serve it. Importing it brings no torch.

    name: "moe_router". full_name: "assay.moe_router.v1.MoeRouterService".
    engine_module: exposes STEPS; imported only where the engine runs.
    examine: the job behind CheckupService.Examine, None where the service has no section in the checkup.
    policies: by method name, where the defaults do not fit.
    """

    name: str
    full_name: str
    engine_module: str
    add_to_server: Callable[[grpc.aio.Server, Front], None]
    jobs: tuple[Job[Any, Any], ...] = ()
    examine: Job[Any, Any] | None = None
    policies: Mapping[str, MethodPolicy] = field(default_factory=dict)


@dataclass(frozen=True)
class Front:
    """What a servicer may use."""

    service: Service
    engine: Engine
    artifacts: ArtifactStore
    operations: Operations

    async def expect(self, reference: str, kind: str, field: str) -> str:
        """The digest behind a request's reference. InvalidInput where it names an artifact of another kind, or none."""
        check_reference(reference, field)
        found = await asyncio.to_thread(self.artifacts.get, reference)
        if found.manifest.kind != kind:
            raise InvalidInput(field, f"is an artifact of kind {found.manifest.kind}; give one of kind {kind}")
        return found.digest

    async def start(self, job: Job[Any, Any], request: Message) -> operations_pb2.Operation:
        """Starts the job for the caller of the call at hand, under the request's request_id."""
        return await self.operations.start(
            job,
            request,
            caller=current_call().caller,
            request_id=request.request_id,  # type: ignore[attr-defined] # requests of long methods have one
        )


def check_reference(value: str, field: str) -> None:
    """InvalidInput for an empty reference."""
    if not value:
        raise InvalidInput(field, "is empty; give an artifact's digest or label")


@cache
def installed_services() -> Mapping[str, Service]:
    """Every service installed beside this package, by name."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name)}


def find_service(name: str) -> Service:
    """Raises NotFound naming the services that are installed."""
    services = installed_services()
    if name not in services:
        known = ", ".join(services) or "none"
        raise NotFound(f"no service {name!r} is installed here (installed: {known}); pip install its distribution")
    return services[name]
