"""How a front is served: settings that a deployment makes through the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from assay.errors import InvalidInput

Transport = Literal["plaintext", "mtls", "mesh"]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the server's certificate chain and key, and the authority that signs callers."""

    certificate: Path
    key: Path
    client_authority: Path


@dataclass(frozen=True)
class ServerSettings:
    """transport: plaintext (callers are anonymous), mtls (identity from the client certificate) or mesh (identity
    from the sidecar's forwarded-client-cert header). The three exclude each other.

    listen: host:port or unix:/path. health_listen: plaintext health for probes under mtls.
    allow: who may call what, see `assay.server.allow`. administrators: may cancel anyone's operation.
    metrics_port: Prometheus; 0 for none. drain_s: between NOT_SERVING and the end of new calls.
    grace_s: how long calls in flight may take to end.
    """

    transport: Transport = "plaintext"
    listen: str = "127.0.0.1:50051"
    health_listen: str = ""
    tls: TlsFiles | None = None
    allow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    administrators: frozenset[str] = frozenset()
    metrics_port: int = 0
    drain_s: float = 2.0
    grace_s: float = 20.0
    trace_console: bool = False

    def __post_init__(self) -> None:
        if self.transport not in get_args(Transport):
            raise InvalidInput("ASSAY_TRANSPORT", f"is {self.transport!r}; one of plaintext, mtls, mesh")
        if (self.transport == "mtls") != (self.tls is not None):
            raise InvalidInput(
                "ASSAY_TLS_CERT, ASSAY_TLS_KEY, ASSAY_TLS_CLIENT_CA", "belong to ASSAY_TRANSPORT=mtls, all three"
            )
        if self.transport == "mtls" and not self.health_listen:
            raise InvalidInput("ASSAY_HEALTH_LISTEN", "is needed with mtls, for probes; e.g. 0.0.0.0:50052")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServerSettings:
        """Raises InvalidInput naming the variable."""
        given = [environment.get(name) for name in ("ASSAY_TLS_CERT", "ASSAY_TLS_KEY", "ASSAY_TLS_CLIENT_CA")]
        transport = environment.get("ASSAY_TRANSPORT", "plaintext")
        if any(given) and not all(given):
            raise InvalidInput("ASSAY_TLS_CERT, ASSAY_TLS_KEY, ASSAY_TLS_CLIENT_CA", "must be given together")
        return cls(
            transport=cast(Transport, transport),
            listen=environment.get("ASSAY_LISTEN", "127.0.0.1:50051"),
            health_listen=environment.get("ASSAY_HEALTH_LISTEN", ""),
            tls=TlsFiles(*(Path(cast(str, name)) for name in given)) if all(given) else None,
            allow=_read_allow(environment.get("ASSAY_ALLOW_FILE", "")),
            administrators=frozenset(filter(None, environment.get("ASSAY_ADMINISTRATORS", "").split(","))),
            metrics_port=int(environment.get("ASSAY_METRICS_PORT", "0")),
            drain_s=float(environment.get("ASSAY_DRAIN_S", "2")),
            grace_s=float(environment.get("ASSAY_GRACE_S", "20")),
            trace_console=environment.get("ASSAY_TRACE_CONSOLE", "") == "1",
        )


def _read_allow(path: str) -> Mapping[str, tuple[str, ...]]:
    if not path:
        return {}
    try:
        document = json.loads(Path(path).read_text())
        return {method: tuple(identities) for method, identities in document.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(
            "ASSAY_ALLOW_FILE",
            'is no JSON object such as {"/assay.moe_router.v1.MoeRouterService/*": ["spiffe://..."]}',
        ) from error
