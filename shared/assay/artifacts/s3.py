"""An object store in a bucket of MinIO or another S3 server that honours conditional writes.

The minio client has no conditional writes, so uploads go over presigned URLs with `If-None-Match` and
`If-Match` headers. A write whose answer is lost is reported as Unavailable, never repeated here: a repeated
one could lose against itself. What a killed multipart upload leaves behind is invisible; MinIO discards it
after a day, and an AWS bucket wants a lifecycle rule AbortIncompleteMultipartUpload.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from assay.artifacts.objects import ObjectInfo, check_key, check_prefix, check_range
from assay.errors import (
    Aborted,
    AssayError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

PART_BYTES = 16 * 2**20
MAX_PARTS = 10_000
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 8.0
CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
URL_LIFETIME = timedelta(minutes=15)

MISSING = {"NoSuchKey", "NoSuchUpload", "NoSuchVersion"}
BAD_IDENTITY = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken"}
OVERLOADED = {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout"}
# What MinIO calls a body it gave up reading, its disk being full or its time over; the whole was sent.
CUT_SHORT = {"IncompleteBody"}
NO_ROOM = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}


@dataclass(frozen=True)
class _Reply:
    """What the server said to a presigned request."""

    status: int
    body: bytes
    etag: str


class S3ObjectStore:
    """Objects below `prefix` of a bucket that exists already. `endpoint`: host:port."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        secure: bool,
        prefix: str = "",
        *,
        region: str | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{check_key(prefix, 'prefix')}/" if prefix else ""
        self._http = urllib3.PoolManager(
            maxsize=32,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            # Only what certainly never reached the server is sent again.
            retries=urllib3.Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        with _s3_errors():
            self._client = Minio(
                endpoint,
                access_key=access_key,
                secret_key=secret_key,
                secure=secure,
                region=region,
                http_client=self._http,
            )

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        check_range(offset, length)
        if length == 0:
            if self.head(key) is None:
                raise _not_found(key)
            return b""
        with self._body(key, offset, length) as stream:
            return stream.read()

    def open(self, key: str) -> BinaryIO:
        return self._body(key, 0, None)

    def head(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        with _s3_errors():
            try:
                found = self._client.stat_object(self._bucket, name)
            except S3Error as error:
                if error.code in MISSING:
                    return None
                raise
            return _info(key, found.size, found.etag, found.last_modified)

    def put_if_absent(self, key: str, data: bytes | Path, *, sha256: str | None = None) -> bool:
        if isinstance(data, Path):
            if self.head(key) is not None:
                return False
            try:
                source = data.open("rb")
            except OSError as error:
                raise InvalidInput("data", "cannot be read as a file; check that it exists and is readable") from error
            with source:
                size = os.fstat(source.fileno()).st_size
                if size > PART_BYTES:
                    return self._put_in_parts(key, source, size, sha256)
                data = source.read()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise _changed()
        return self._put(key, data, {"If-None-Match": "*"}) is not None

    def compare_and_swap(self, key: str, data: bytes, expected: str | None) -> str | None:
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": f'"{expected}"'}
        return self._put(key, data, condition)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with _s3_errors():
            for found in self._client.list_objects(self._bucket, prefix=self._prefix + prefix, recursive=True):
                key = cast(str, found.object_name)[len(self._prefix) :]
                yield _info(key, found.size, found.etag, found.last_modified)

    def delete(self, key: str) -> None:
        with _s3_errors():
            self._client.remove_object(self._bucket, self._name(key))

    def check(self) -> None:
        with _s3_errors():
            if not self._client.bucket_exists(self._bucket):
                raise _no_bucket()
        probe = f"probes/{uuid.uuid4().hex}"
        try:
            self._check_conditional_writes(probe)
        finally:
            with suppress(AssayError):
                self.delete(probe)

    def _check_conditional_writes(self, probe: str) -> None:
        refused = FailedPrecondition(
            "the object store ignores conditional writes, so concurrent writers would overwrite each other; use a "
            "store that honours If-None-Match and If-Match (MinIO, AWS S3), or a local directory",
            reason="STORE_IGNORES_CONDITIONAL_WRITES",
        )
        created = self._put(probe, b"1", {"If-None-Match": "*"}) is not None
        overwritten = self._put(probe, b"2", {"If-None-Match": "*"}) is not None
        swapped = self._put(probe, b"3", {"If-Match": f'"{"0" * 32}"'}) is not None
        if not created or overwritten or swapped:
            raise refused
        if self._put_in_parts(probe, io.BytesIO(b"4"), 1, None) or self.get(probe) != b"1":
            raise refused

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _body(self, key: str, offset: int, length: int | None) -> BinaryIO:
        name = self._name(key)
        with _s3_errors():
            try:
                reply = self._client.get_object(self._bucket, name, offset=offset, length=length or 0)
            except S3Error as error:
                if error.code in MISSING:
                    raise _not_found(key) from None
                if error.code == "InvalidRange":
                    return io.BytesIO()
                raise
        return cast(BinaryIO, io.BufferedReader(_Body(reply), buffer_size=2**18))

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
        """The new version, or None where the condition did not hold."""
        reply = self._send("PUT", key, body=data, headers=condition, holds_condition=True)
        return reply.etag if reply else None

    def _put_in_parts(self, key: str, source: BinaryIO, size: int, sha256: str | None) -> bool:
        opened = cast(_Reply, self._send("POST", key, query={"uploads": ""}))
        upload = {"uploadId": _text(opened.body, "UploadId")}
        try:
            etags, digest = self._send_parts(key, source, size, upload)
            if sha256 is not None and digest != sha256:
                raise _changed()
            listing = "".join(
                f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>'
                for number, etag in enumerate(etags, 1)
            )
            body = f"<CompleteMultipartUpload>{listing}</CompleteMultipartUpload>".encode()
            condition = {"If-None-Match": "*"}
            completed = self._send("POST", key, body=body, query=upload, headers=condition, holds_condition=True)
        except BaseException:
            self._abort_upload(key, upload)
            raise
        if completed is None:
            self._abort_upload(key, upload)
            return False
        # S3 may start to answer 200 before it knows the outcome, which then stands in the body.
        if _local_name(completed.body) == "Error":
            raise _error(500, _error_code(completed.body))
        return True

    def _send_parts(
        self, key: str, source: BinaryIO, size: int, upload: Mapping[str, str]
    ) -> tuple[Sequence[str], str]:
        digest = hashlib.sha256()
        etags: Sequence[str] = ()
        part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
        while chunk := source.read(part_bytes):
            digest.update(chunk)
            query = {**upload, "partNumber": str(len(etags) + 1)}
            etags = (*etags, cast(_Reply, self._send("PUT", key, body=chunk, query=query)).etag)
        return etags, digest.hexdigest()

    def _abort_upload(self, key: str, upload: Mapping[str, str]) -> None:
        with suppress(AssayError):
            self._send("DELETE", key, query=upload)

    def _send(
        self,
        method: str,
        key: str,
        *,
        body: bytes = b"",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        holds_condition: bool = False,
    ) -> _Reply | None:
        """Sends a presigned request; None where it is conditional and the condition did not hold."""
        name = self._name(key)
        checksum = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        for pause_s in (*CONFLICT_PAUSES_S, 0.0):
            with _s3_errors():
                url = self._client.get_presigned_url(
                    method, self._bucket, name, expires=URL_LIFETIME, extra_query_params=dict(query or {})
                )
                answer = self._http.urlopen(
                    method, url, body=body, headers={"Content-MD5": checksum, **(headers or {})}
                )
            reply = _Reply(answer.status, answer.data, answer.headers.get("etag", "").strip('"'))
            if reply.status in (200, 204):
                return reply
            if holds_condition and _condition_failed(reply):
                return None
            if reply.status != 409:
                break
            # Two conditional writes met and the server did not carry out this one.
            time.sleep(pause_s)
        raise _error(reply.status, _error_code(reply.body))


class _Body(io.RawIOBase):
    """The body of a reply as a file whose failures are Unavailable."""

    def __init__(self, reply: urllib3.BaseHTTPResponse) -> None:
        self._reply = reply

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _s3_errors():
            data = self._reply.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            # A connection with unread bytes must not go back to the pool.
            self._reply.close()
            self._reply.release_conn()
        super().close()


def _condition_failed(reply: _Reply) -> bool:
    # 404: If-Match on a key that does not exist.
    return reply.status == 412 or (reply.status == 404 and _error_code(reply.body) == "NoSuchKey")


def _info(key: str, size: int | None, etag: str | None, modified: datetime | None) -> ObjectInfo:
    return ObjectInfo(key, size or 0, (etag or "").strip('"'), modified.timestamp() if modified else 0.0)


def _element(body: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(body) if body else None
    except ElementTree.ParseError:
        return None


def _local_name(body: bytes) -> str:
    element = _element(body)
    return "" if element is None else element.tag.rpartition("}")[2]


def _text(body: bytes, name: str) -> str:
    element = _element(body)
    for child in () if element is None else element:
        if child.tag.rpartition("}")[2] == name and child.text:
            return child.text
    raise FailedPrecondition(f"the object store's answer lacks {name}; check that the endpoint is an S3 server")


def _error_code(body: bytes) -> str:
    element = _element(body)
    for child in () if element is None else element:
        if child.tag.rpartition("}")[2] == "Code":
            return child.text or ""
    return ""


def _error(status: int, code: str) -> AssayError:
    """What an S3 status and error code mean to a caller."""
    if code in NO_ROOM or status == 507:
        return ResourceExhausted("no space is left in the object store; free some, or run `assay artifacts gc`")
    if code in BAD_IDENTITY or status == 401:
        return Unauthenticated("the object store refused the keys; check ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY")
    if code == "RequestTimeTooSkewed":
        return FailedPrecondition("this machine's clock differs from the object store's; set it right")
    if code == "NoSuchBucket":
        return _no_bucket()
    if status == 403:
        return PermissionDenied(
            "the object store forbids this; check the keys ASSAY_S3_ACCESS_KEY and ASSAY_S3_SECRET_KEY and what "
            "they may do in the bucket"
        )
    if code in OVERLOADED | CUT_SHORT or status in (408, 409, 429) or (status >= 500 and status != 501):
        return Unavailable("the object store cannot serve the request right now; try again")
    return FailedPrecondition(
        f"the object store refused the request ({code or status}); check that the endpoint is an S3 server"
    )


def _no_bucket() -> FailedPrecondition:
    return FailedPrecondition(
        "the bucket of the object store does not exist; create it, for example with `mc mb`, or name another",
        reason="BUCKET_MISSING",
    )


def _not_found(key: str) -> NotFound:
    return NotFound(f"there is no object {key}; list the store to see what there is")


def _changed() -> Aborted:
    return Aborted("the file changed while it was stored; put it again once nothing writes to it")


@contextmanager
def _s3_errors() -> Iterator[None]:
    """Turns what minio and urllib3 raise into errors that may be shown to a caller: without addresses."""
    try:
        yield
    except S3Error as error:
        raise _error(error.response.status if error.response is not None else 0, error.code or "") from error
    except InvalidResponseError as error:
        raise _error(int(error._code), "") from error
    except ServerError as error:
        raise _error(error.status_code, "") from error
    except HTTPError as error:
        raise Unavailable("the object store does not answer; check that it runs, then try again") from error
    except ValueError as error:
        # The minio client checks the names of bucket and endpoint itself.
        raise InvalidInput("store", f"is no valid address of a bucket: {error}") from error
