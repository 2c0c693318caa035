"""A real call to every service, the way callers reach it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.errors import AssayError, NotFound, Unavailable, Unimplemented
from assay.platform.api import Cluster
from assay.platform.calls import ask, harmless_method, health
from assay.platform.helm import Helm, Target
from assay.platform.services import Address, Service, channel, installed, through_cluster, through_gateway

if TYPE_CHECKING:
    import grpc

PAUSE_S = 1.0


@dataclass(frozen=True)
class Answer:
    """ok: the service answered; how: the way; said: what was called and what came back; ms: of the last call."""

    service: str
    ok: bool
    how: str
    said: str
    ms: float


def smoke(cluster: Cluster, target: Target, *, address: str = "", timeout_s: float = 60.0) -> list[Answer]:
    """Each service until it answers or the time is over. address: HOST:PORT instead of the release's own.

    NotFound where nothing is installed.
    """
    cluster.reach()
    services, _, values = installed(target, Helm(target))
    if not services:
        raise NotFound(f"the release {target.release} has no services")
    # By --address TLS is used where ASSAY_TLS_CA is set, as every client does.
    given = Address(address, "", bool(os.environ.get("ASSAY_TLS_CA")), address) if address else None
    deadline = time.monotonic() + timeout_s
    return [_until(cluster, target, service, given, values, deadline) for service in services]


def _until(
    cluster: Cluster,
    target: Target,
    service: Service,
    given: Address | None,
    values: dict[str, object],
    deadline: float,
) -> Answer:
    while True:
        begun, how = time.monotonic(), ""
        try:
            with _way(cluster, target, service, given, values) as address, channel(address) as opened:
                how = address.how
                begun = time.monotonic()
                said = _calls(opened, service)
                return Answer(service.name, True, how, said, round((time.monotonic() - begun) * 1e3, 1))
        except AssayError as error:
            final = error.code in ("PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "UNIMPLEMENTED")
            if final or time.monotonic() + PAUSE_S > deadline:
                return Answer(service.name, False, how, error.message, round((time.monotonic() - begun) * 1e3, 1))
            time.sleep(PAUSE_S)


@contextmanager
def _way(
    cluster: Cluster, target: Target, service: Service, given: Address | None, values: dict[str, object]
) -> Iterator[Address]:
    if found := given or through_gateway(cluster, target, values):
        yield found
        return
    with through_cluster(cluster, target, service) as forwarded:
        yield forwarded


def _calls(opened: grpc.Channel, service: Service) -> str:
    """Health, which asks the store and the engine; and a method of the service's own, where one changes nothing."""
    said = []
    try:
        if not health(opened, service.grpc):
            raise Unavailable("answers, but its store or its engine does not (health NOT_SERVING); see its log")
        said.append("health SERVING")
    except (Unimplemented, NotFound):
        pass  # a route by service names leads to the service's own methods alone
    method = harmless_method(service.grpc)
    if method:
        said.append(f"{method} answered {ask(opened, service.grpc, method)}")
    if not said:
        raise Unimplemented("health is not routed, and no method of it is known here that changes nothing")
    return ", ".join(said)
