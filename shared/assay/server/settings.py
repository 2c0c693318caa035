"""How a front is served: settings that a deployment makes through the environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from assay.errors import InvalidInput

Transport = Literal["plaintext", "mtls", "mesh"]

ALLOW_KEY = re.compile(r"\*|/[A-Za-z0-9_.]+/(\*|[A-Za-z0-9_]+)")
ALLOW_FORM = (
    'is no JSON object of lists such as {"/assay.moe_router.v1.MoeRouterService/*": ["spiffe://domain/caller"]}; keys '
    'are "/package.Service/Method", "/package.Service/*" or "*"'
)


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
            metrics_port=int(_number(environment, "ASSAY_METRICS_PORT", 0)),
            drain_s=_number(environment, "ASSAY_DRAIN_S", 2.0),
            grace_s=_number(environment, "ASSAY_GRACE_S", 20.0),
            trace_console=environment.get("ASSAY_TRACE_CONSOLE", "") == "1",
        )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InvalidInput(name, f"is {text!r}; write a number, at least 0")
    return number


def _read_allow(path: str) -> Mapping[str, tuple[str, ...]]:
    if not path:
        return {}
    try:
        document = json.loads(Path(path).read_text())
        entries = {key: tuple(identities) for key, identities in document.items() if isinstance(identities, list)}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInput("ASSAY_ALLOW_FILE", ALLOW_FORM) from error
    # A key that names no method, or a string where a list belongs, would lock people out, or worse let them in.
    spelt = all(ALLOW_KEY.fullmatch(key) for key in entries)
    named = all(isinstance(identity, str) and identity for identities in entries.values() for identity in identities)
    if not entries or len(entries) != len(document) or not spelt or not named:
        raise InvalidInput("ASSAY_ALLOW_FILE", ALLOW_FORM)
    return entries
