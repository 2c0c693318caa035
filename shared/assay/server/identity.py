"""Who is calling, as far as the transport proves it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

import grpc.aio

from assay.errors import PermissionDenied, Unauthenticated
from assay.server.settings import Transport

ANONYMOUS = "anonymous"
FORWARDED_CERT = "x-forwarded-client-cert"

Identify = Callable[[grpc.aio.ServicerContext, Sequence[tuple[str, str | bytes]]], str]


def identify(transport: Transport) -> Identify:
    """The function that tells who makes a call, of its context and metadata.

    It raises Unauthenticated or PermissionDenied.
    """
    return {"plaintext": _anonymous, "mtls": _from_certificate, "mesh": _from_sidecar}[transport]


def _anonymous(context: grpc.aio.ServicerContext, metadata: Sequence[tuple[str, str | bytes]]) -> str:
    return ANONYMOUS


def _from_certificate(context: grpc.aio.ServicerContext, metadata: Sequence[tuple[str, str | bytes]]) -> str:
    pem = context.auth_context().get("x509_pem_cert")
    if not pem:
        raise Unauthenticated("no client certificate was presented; connect with one")
    return uri_of_certificate(bytes(pem[0]))


@lru_cache(maxsize=1024)
def uri_of_certificate(pem: bytes) -> str:
    """The one URI among the subject alternative names (SPIFFE allows exactly one). Unauthenticated otherwise."""
    from cryptography import x509

    try:
        extensions = x509.load_pem_x509_certificate(pem).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    except ValueError as error:
        raise Unauthenticated("the client certificate cannot be read; issue another") from error
    if len(uris) != 1:
        raise Unauthenticated(
            f"the client certificate has {len(uris)} URI names; it needs exactly one, such as spiffe://domain/workload"
        )
    return uris[0]


def _from_sidecar(context: grpc.aio.ServicerContext, metadata: Sequence[tuple[str, str | bytes]]) -> str:
    if not is_loopback(context.peer()):
        # Only the pod's own sidecar may speak for others; anybody can write a header.
        raise PermissionDenied("in mesh mode calls come through the sidecar only", reason="NOT_FROM_SIDECAR")
    headers = [value for key, value in metadata if key == FORWARDED_CERT]
    if len(headers) != 1:
        raise Unauthenticated(
            f"{len(headers)} {FORWARDED_CERT} headers; the sidecar must set exactly one (SANITIZE_SET)"
        )
    return uri_of_forwarded_cert(str(headers[0]))


@lru_cache(maxsize=1024)
def is_loopback(peer: str) -> bool:
    """Whether a gRPC peer such as "ipv4:127.0.0.1:4711" or "unix:" is on this machine."""
    kind, _, address = unquote(peer).partition(":")
    if kind in ("unix", "unix-abstract"):
        return True
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def uri_of_forwarded_cert(header: str) -> str:
    """The caller's URI in Envoy's header `By=..;Hash=..;Subject="..";URI=..`. Unauthenticated unless there is one.

    Several elements mean that a proxy appended to what the client sent instead of replacing it.
    """
    elements = list(split_quoted(header, ","))
    if len(elements) != 1:
        raise Unauthenticated(f"{FORWARDED_CERT} names {len(elements)} certificates; the sidecar must replace it")
    pairs = [pair.partition("=") for pair in split_quoted(elements[0], ";")]
    uris = [value.strip('"') for key, _, value in pairs if key.strip().lower() == "uri"]
    if len(uris) != 1 or not uris[0]:
        raise Unauthenticated(f"{FORWARDED_CERT} holds {len(uris)} URIs; it needs exactly one")
    return uris[0]


def split_quoted(text: str, separator: str) -> Iterator[str]:
    """Parts of `text` between separators that stand outside double quotes."""
    start, quoted, escaped = 0, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:position]
            start = position + 1
    yield text[start:]
