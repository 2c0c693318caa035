"""Whom a checkup asks: every service that has an endpoint of its own, and all that one server or this process holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.client.connection import Connection, connect, embedded
from assay.config import Config
from assay.errors import FailedPrecondition, InvalidInput

LIST_TIMEOUT_S = 20.0
_OWN_ENDPOINT = re.compile(r"ASSAY_([A-Z0-9_]+)_ENDPOINT")


@dataclass(frozen=True)
class Target:
    """A service and how to reach it. where: the endpoint, "" for this process."""

    service: str
    connection: Connection
    where: str = ""


@contextmanager
def targets(
    names: Sequence[str],
    *,
    endpoint: str | None,
    config: Config,
    here: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Sequence[Target]]:
    """The services to ask, sorted by name; their connections stay open inside the `with`.

    names: only these ("moe-router" is "moe_router"); all where empty. endpoint: one server for all of them. here:
    this process's own services, whatever the environment says.
    Raises InvalidInput for a name nobody serves, FailedPrecondition where there is no service at all.
    """
    wanted = {name.strip().replace("-", "_").lower() for name in names if name.strip()}
    with ExitStack() as open_connections:
        found: dict[str, Target] = {}
        own = {} if here or endpoint else _own_endpoints(environment)
        by_address: dict[str, Connection] = {}

        def reach(address: str) -> Connection:
            if address not in by_address:
                by_address[address] = open_connections.enter_context(connect("", address, config=config))
            return by_address[address]

        for name, address in own.items():
            if not wanted or name in wanted:
                found[name] = Target(name, reach(address), address)
        shared = "" if here else endpoint or environment.get("ASSAY_ENDPOINT", "")
        if not wanted or wanted - found.keys():
            try:
                connection = reach(shared) if shared else open_connections.enter_context(embedded(config))
                for name in _served(connection, shared):
                    found.setdefault(name, Target(name, connection, shared))
            except FailedPrecondition:
                # Nothing is installed here; those with an endpoint are all there is.
                if not found:
                    raise
        if unknown := sorted(wanted - found.keys()):
            known = ", ".join(sorted(found)) or "none"
            raise InvalidInput(
                "--services", f"names {', '.join(unknown)}, which nobody serves; there are {known}", reason="NO_SERVICE"
            )
        yield [target for name, target in sorted(found.items()) if not wanted or name in wanted]


def _own_endpoints(environment: Mapping[str, str]) -> dict[str, str]:
    matches = ((_OWN_ENDPOINT.fullmatch(name), address) for name, address in environment.items())
    return {matched[1].lower(): address for matched, address in matches if matched and address}


def _served(connection: Connection, address: str) -> Sequence[str]:
    if address:
        connection.check_reachable(address)
    stub = checkup_pb2_grpc.CheckupServiceStub(connection.channel)
    answer = connection.call(stub.ListServices, checkup_pb2.ListServicesRequest(), timeout_s=LIST_TIMEOUT_S)
    return [service.name for service in answer.services]
