"""The object store: reached from here with the keys that pods will have."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from assay.artifacts.objects import open_object_store
from assay.errors import AssayError, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, Unavailable
from assay.platform.finding import Finding, fail, ok, warn
from assay.platform.survey import Survey

NAME = "store"
INSIDE = (".svc", ".local", ".internal")


def store(survey: Survey) -> Iterator[Finding]:
    entry = survey.rendered.environment("ASSAY_STORE")
    if entry is None:
        return
    url = entry["value"]
    shown = url.partition("?")[0]
    if survey.rendered.of_kind("StatefulSet"):
        yield ok(NAME, f"{shown} in a MinIO that comes with the release")
        return
    endpoint = parse_qs(urlsplit(url).query).get("endpoint", ["https://s3.amazonaws.com"])[0]
    host = urlsplit(endpoint).hostname or ""
    if _inside(host):
        remedy = "after installing, assay platform smoke asks it through the fronts"
        yield warn(NAME, f"{host} is a name inside the cluster: not checkable from here", remedy)
        return
    try:
        keys = _keys(survey)
    except (NotFound, PermissionDenied) as error:
        yield warn(NAME, f"not checkable: {error.message}", "see the secret's own line")
        return
    try:
        open_object_store(url, keys).check()
    except (Unauthenticated, PermissionDenied) as error:
        yield fail(NAME, f"{shown} at {host} refuses the keys: {error.message}", "put the right keys into the secret")
    except FailedPrecondition as error:
        if error.reason == "BUCKET_MISSING":
            yield fail(NAME, f"{shown} at {host}: there is no such bucket", "make the bucket: assay makes none")
        else:
            yield fail(NAME, f"{shown} at {host}: {error.message}", "use a store that honours conditional writes")
    except Unavailable as error:
        remedy = (
            "start it, or open the way; if only the cluster reaches it, go on and run assay platform smoke afterwards"
        )
        yield fail(NAME, f"{endpoint} does not answer from here: {error.message}", remedy)
    except AssayError as error:
        yield fail(NAME, f"{shown} at {host}: {error.message}", "mend store.url or the store")
    else:
        yield ok(NAME, f"{shown} at {host} answers and honours conditional writes")


def _inside(host: str) -> bool:
    if "." not in host.strip(".") or host.endswith(INSIDE):
        return host not in ("localhost",)
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return True  # a name that only the cluster knows, or nobody
    return False


def _keys(survey: Survey) -> dict[str, str]:
    """What pods get as ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY."""
    found = {}
    for name in ("ASSAY_S3_ACCESS_KEY", "ASSAY_S3_SECRET_KEY"):
        entry = survey.rendered.environment(name) or {}
        reference = entry.get("valueFrom", {}).get("secretKeyRef", {})
        secret = survey.cluster.get(f"/api/v1/namespaces/{survey.target.namespace}/secrets/{reference.get('name')}")
        try:
            found[name] = base64.b64decode(secret["data"][reference["key"]]).decode()
        except (KeyError, ValueError):
            raise NotFound(f"secret {reference.get('name')} has no usable {reference.get('key')}") from None
    return found
