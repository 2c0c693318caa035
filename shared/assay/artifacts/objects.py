"""Object stores: named byte strings with conditional writes, in a local directory or an S3 bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from assay.errors import FailedPrecondition, InvalidInput

MAX_KEY_BYTES = 900  # S3 takes 1,024 with the prefix
MAX_KEY_PART_BYTES = 255  # what file systems take


@dataclass(frozen=True)
class ObjectInfo:
    """An object as it stands; `version` is opaque and changes with every write."""

    key: str
    size_bytes: int
    version: str
    modified_unix_s: float


class ObjectStore(Protocol):
    """Bytes under keys such as `labels/active-plan`. Every method is safe to call from many threads.

    A write either happens whole and durably or not at all. Callers never make a key a folder of another, such as
    `a` beside `a/b`: a directory refuses it, and MinIO takes it but lists only `a`. All methods may
    raise Unavailable (try again later), Unauthenticated, PermissionDenied, ResourceExhausted (no room left) and
    InvalidInput (a bad key).
    """

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes from `offset` on, `length` of them at most; empty beyond the end. NotFound."""

    def open(self, key: str) -> BinaryIO:
        """The object as a stream; the caller closes it. NotFound."""

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of the object without reading it; None where there is none."""

    def put_if_absent(self, key: str, data: bytes | Path, *, sha256: str | None = None) -> bool:
        """Stores `data` unless the key exists; True where this call created it. A path is streamed.

        sha256: hex; Aborted, with nothing stored, where the bytes read have another hash (the file changed).
        """

    def compare_and_swap(self, key: str, data: bytes, expected: str | None) -> str | None:
        """Replaces the version `expected` (None: the key must not exist); the new version, None where it lost."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, sorted by the key's UTF-8 bytes."""

    def delete(self, key: str) -> None:
        """Removes the object; an absent one is fine."""

    def check(self) -> None:
        """Proves with a probe object that the store answers and honours conditional writes.

        Raises Unavailable, or FailedPrecondition where the store cannot be used as it is.
        """


def check_key(key: str, field: str = "key") -> str:
    """Returns `key`, or raises InvalidInput: parts between "/" must be non-empty and not start with a dot."""
    if not key:
        raise InvalidInput(field, "is empty; give at least one character")
    if len(encode(key, field)) > MAX_KEY_BYTES:
        raise InvalidInput(field, f"is longer than {MAX_KEY_BYTES} bytes; shorten it")
    if any(ord(character) < 32 or ord(character) == 127 for character in key) or "\\" in key:
        raise InvalidInput(field, "holds a control character or a backslash; leave it out")
    for part in key.split("/"):
        if not part or part.startswith("."):
            raise InvalidInput(field, "has a part between slashes that is empty or starts with '.'; rename it")
        if len(part.encode()) > MAX_KEY_PART_BYTES:
            raise InvalidInput(field, f"has a part longer than {MAX_KEY_PART_BYTES} bytes; shorten it")
    return key


def check_prefix(prefix: str) -> str:
    """As `check_key`, but empty, a trailing slash and a part cut short are fine."""
    if prefix:
        check_key(prefix.removesuffix("/"), "prefix")
    return prefix


def check_range(offset: int, length: int | None) -> None:
    if offset < 0:
        raise InvalidInput("offset", f"is {offset}; at least 0")
    if length is not None and length < 0:
        raise InvalidInput("length", f"is {length}; at least 0")


def encode(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(field, "is not valid Unicode; replace the lone surrogates") from error


def open_object_store(url: str, environment: Mapping[str, str] = os.environ) -> ObjectStore:
    """The store a URL names: `file:///abs/dir` or `s3://bucket/prefix?endpoint=http://127.0.0.1:9000`.

    S3 keys are ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY of `environment`; `&region=` is looked up where absent.
    Opens without asking the store anything: call `check()` for that.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _open_local(parts.netloc, unquote(parts.path))
    if parts.scheme == "s3":
        return _open_s3(parts.netloc, parts.path.strip("/"), parse_qs(parts.query), environment)
    raise InvalidInput(
        "store", "starts with neither file:// nor s3://; use file:///abs/dir or s3://bucket?endpoint=URL"
    )


def _open_local(host: str, path: str) -> ObjectStore:
    from assay.artifacts.local import LocalObjectStore

    if host not in ("", "localhost") or not path.startswith("/"):
        raise InvalidInput("store", "needs an absolute directory, as in file:///abs/dir (three slashes)")
    return LocalObjectStore(Path(path))


def _open_s3(bucket: str, prefix: str, query: dict[str, list[str]], environment: Mapping[str, str]) -> ObjectStore:
    unknown = sorted(set(query) - {"endpoint", "region"})
    if unknown:
        raise InvalidInput("store", f"has an unknown option {unknown[0]!r}; known are endpoint and region")
    if not bucket:
        raise InvalidInput("store", "names no bucket; use s3://bucket?endpoint=URL")
    access_key, secret_key = environment.get("ASSAY_S3_ACCESS_KEY"), environment.get("ASSAY_S3_SECRET_KEY")
    if not access_key or not secret_key:
        raise FailedPrecondition("an s3:// store needs keys; set ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY")
    endpoint = urlsplit(query.get("endpoint", ["https://s3.amazonaws.com"])[0])
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path.strip("/"):
        raise InvalidInput("store", "has an endpoint that is no http:// or https:// address of a server")
    try:
        from assay.artifacts.s3 import S3ObjectStore
    except ModuleNotFoundError as error:
        raise FailedPrecondition("an s3:// store needs the minio package; install assay-platform[s3]") from error
    return S3ObjectStore(
        endpoint.netloc,
        bucket,
        access_key,
        secret_key,
        secure=endpoint.scheme == "https",
        prefix=prefix,
        region=query.get("region", [None])[0],
    )
