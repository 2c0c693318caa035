"""What of an operation lies in the object store. Every write but the lease's is put-if-absent: first wins.

    operations/<id>/specification   method, caller, request, environment it began on
    operations/<id>/steps/<name>    reply of a finished step
    operations/<id>/cancel          who asked to stop
    operations/<id>/decision        whether it ends by that, or had passed its point of no return
    operations/<id>/environment     what changed, where a resume ran on something else
    operations/<id>/result          response or error
    operations/<id>/lease           who works on it, and how far it is (compare-and-swap; saves work only)
    open-operations/<service>/<id>  there until the result is

A record is one line of JSON and then a serialised protobuf message, in which artifact digests stay legible for
garbage collection.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from assay.artifacts.objects import ObjectInfo, ObjectStore
from assay.errors import AlreadyExists, DataLoss, InvalidInput, NotFound

FINISH, CANCEL = "finish", "cancel"
NAME = re.compile(r"operations/([0-9a-f]{32})")


@dataclass(frozen=True)
class Specification:
    """How an operation began. `environment`: serialised DescribeEngineResponse."""

    operation_id: str
    service: str
    method: str
    caller: str
    request_id: str
    create_unix_s: float
    environment: str
    request: bytes

    @property
    def request_sha256(self) -> str:
        return hashlib.sha256(self.request).hexdigest()


@dataclass(frozen=True)
class StepRecord:
    """A finished step: hash of what was asked, and the reply."""

    request_sha256: str
    reply: any_pb2.Any


def operation_id(caller: str, method: str, request_id: str) -> str:
    """The same caller, method and request id are the same operation. 32 hex digits."""
    return hashlib.sha256("\0".join((caller, method, request_id)).encode()).hexdigest()[:32]


def id_of_name(name: str, field: str = "name") -> str:
    """The id in "operations/<id>"; InvalidInput otherwise."""
    match = NAME.fullmatch(name)
    if match is None:
        raise InvalidInput(field, "is no operation name; write operations/ and the 32 hex digits you were given")
    return match[1]


def serialized(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


class OperationRecords:
    """Reads and writes the records above. Synchronous and thread-safe, like the store below it."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def create(self, specification: Specification) -> Specification:
        """Stores it, or finds the one stored before; AlreadyExists where that asked for something else."""
        head = {
            "service": specification.service,
            "method": specification.method,
            "caller": specification.caller,
            "request_id": specification.request_id,
            "create_unix_s": specification.create_unix_s,
            "environment": specification.environment,
        }
        key = f"operations/{specification.operation_id}/specification"
        if self.objects.put_if_absent(key, _record(head, specification.request)):
            stored = specification
        else:
            stored = self.specification(specification.operation_id)
            if stored.request_sha256 != specification.request_sha256:
                raise AlreadyExists(
                    "request_id was used before with another request; make a new UUID for a new request",
                    reason="REQUEST_ID_REUSED",
                    metadata={"operation": f"operations/{specification.operation_id}"},
                )
        if self.result(specification.operation_id) is None:
            self.objects.put_if_absent(f"open-operations/{stored.service}/{stored.operation_id}", b"open")
        return stored

    def specification(self, operation: str) -> Specification:
        """NotFound for an unknown operation."""
        try:
            head, request = self._read(f"operations/{operation}/specification")
        except NotFound:
            raise NotFound(
                f"there is no operation operations/{operation}; it may have been deleted, start it again"
            ) from None
        return Specification(operation_id=operation, request=request, **head)

    def step(self, operation: str, name: str) -> StepRecord | None:
        try:
            head, reply = self._read(_step_key(operation, name))
        except NotFound:
            return None
        return StepRecord(head["request_sha256"], any_pb2.Any.FromString(reply))

    def commit_step(self, operation: str, name: str, record: StepRecord) -> StepRecord:
        """What is stored afterwards: `record`, or the one that was first."""
        data = _record({"request_sha256": record.request_sha256}, serialized(record.reply))
        if self.objects.put_if_absent(_step_key(operation, name), data):
            return record
        first = self.step(operation, name)
        if first is None:
            raise DataLoss(f"step {name} of operations/{operation} vanished; start the operation anew")
        return first

    def steps_done(self, operation: str) -> int:
        return sum(1 for _ in self.objects.list(f"operations/{operation}/steps/"))

    def request_cancel(self, operation: str, caller: str) -> None:
        self.objects.put_if_absent(f"operations/{operation}/cancel", _record({"by": caller}, b""))

    def cancel_requested(self, operation: str) -> bool:
        return self.objects.head(f"operations/{operation}/cancel") is not None

    def decide(self, operation: str, decision: str) -> str:
        """FINISH or CANCEL: what was decided first, which may be `decision`. It stands over crashes and fronts."""
        key = f"operations/{operation}/decision"
        if self.objects.put_if_absent(key, _record({"decision": decision}, b"")):
            return decision
        return str(self._read(key)[0]["decision"])

    def note_environment_change(self, operation: str, change: str) -> None:
        self.objects.put_if_absent(f"operations/{operation}/environment", _record({"change": change}, b""))

    def environment_change(self, operation: str) -> str:
        try:
            return str(self._read(f"operations/{operation}/environment")[0]["change"])
        except NotFound:
            return ""

    def result(self, operation: str) -> tuple[operations_pb2.Operation, float] | None:
        """The finished operation without its metadata, and when it ended (Unix seconds)."""
        try:
            head, data = self._read(f"operations/{operation}/result")
        except NotFound:
            return None
        return operations_pb2.Operation.FromString(data), float(head["end_unix_s"])

    def commit_result(
        self, service: str, operation: str, finished: operations_pb2.Operation, end_unix_s: float
    ) -> None:
        data = _record({"end_unix_s": end_unix_s}, serialized(finished))
        self.objects.put_if_absent(f"operations/{operation}/result", data)
        self.close(service, operation)

    def close(self, service: str, operation: str) -> None:
        self.objects.delete(f"open-operations/{service}/{operation}")

    def open_ids(self, service: str) -> Iterator[str]:
        """Operations of `service` that have no result yet, or whose front died just after it had one."""
        prefix = f"open-operations/{service}/"
        for info in list(self.objects.list(prefix)):
            yield info.key.removeprefix(prefix)

    def all_open_ids(self) -> Iterator[str]:
        """As `open_ids`, of all services, sorted."""
        yield from sorted(info.key.rpartition("/")[2] for info in self.objects.list("open-operations/"))

    def all_ids(self) -> Iterator[str]:
        """Every operation, sorted."""
        for info in self.objects.list("operations/"):
            if info.key.endswith("/specification"):
                yield info.key.split("/")[1]

    def lease(self, operation: str) -> tuple[ObjectInfo, Mapping[str, Any]] | None:
        key = f"operations/{operation}/lease"
        info = self.objects.head(key)
        if info is None:
            return None
        try:
            return info, self._read(key)[0]
        except NotFound:
            return None

    def lease_content(self, operation: str) -> Mapping[str, Any] | None:
        """The lease without its version, for those who only look."""
        try:
            return self._read(f"operations/{operation}/lease")[0]
        except NotFound:
            return None

    def write_lease(self, operation: str, content: Mapping[str, Any], expected: str | None) -> str | None:
        return self.objects.compare_and_swap(f"operations/{operation}/lease", _record(content, b""), expected)

    def delete(self, operation: str) -> None:
        """Forgets a finished operation; its artifacts stay until garbage collection.

        The specification goes last: what is cut short can be deleted again, and a result never outlives it.
        """
        keys = [info.key for info in self.objects.list(f"operations/{operation}/")]
        for key in sorted(keys, key=lambda key: (key.endswith("/specification"), key.endswith("/result"))):
            self.objects.delete(key)

    def _read(self, key: str) -> tuple[Mapping[str, Any], bytes]:
        data = self.objects.get(key)
        line, found, body = data.partition(b"\n")
        try:
            if found:
                return json.loads(line), body
        except ValueError:
            pass
        raise DataLoss(f"record {key} is damaged; restore the store from a backup, or start the operation anew")


def _record(head: Mapping[str, Any], body: bytes) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n" + body


def _step_key(operation: str, name: str) -> str:
    # Flat, so that no step's key is a folder of another's.
    return f"operations/{operation}/steps/{name.replace('/', '.')}"
