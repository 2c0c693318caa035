"""What can go wrong, in the words of the caller.

Every error carries a message that ends with the next step, a machine-readable `reason`
(UPPER_SNAKE_CASE) and, for bad input, the fields at fault. The names follow gRPC's status codes, but
nothing here imports gRPC: `assay.status` translates to and from google.rpc.Status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request and what is wrong with it; `field` is a path such as `layers[3].tokens`."""

    field: str
    description: str


class AssayError(Exception):
    """Base of all errors that may be shown to a caller as they are.

    retry_after_s: seconds after which the same call may succeed, None where retrying is pointless.
    metadata: further facts for machines; values are shown to the caller, so no paths and no addresses.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.code
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries in data-parallel work; keyword arguments need this.
        return (_rebuild, (type(self), self.message, self.reason, self.violations, self.retry_after_s, self.metadata))


def _rebuild(
    kind: type[AssayError],
    message: str,
    reason: str,
    violations: tuple[FieldViolation, ...],
    retry_after_s: float | None,
    metadata: dict[str, str],
) -> AssayError:
    error = kind.__new__(kind)
    AssayError.__init__(
        error, message, reason=reason, violations=violations, retry_after_s=retry_after_s, metadata=metadata
    )
    return error


class InvalidInput(AssayError):
    """A field of the request is wrong whatever the state of the system: `InvalidInput("k", "is 9; at most 8")`."""

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str, *, reason: str | None = None) -> None:
        super().__init__(
            f"{field}: {description}" if field else description,
            reason=reason,
            violations=[FieldViolation(field, description)],
        )


class NotFound(AssayError):
    code = "NOT_FOUND"


class AlreadyExists(AssayError):
    code = "ALREADY_EXISTS"


class FailedPrecondition(AssayError):
    code = "FAILED_PRECONDITION"


class Aborted(AssayError):
    code = "ABORTED"


class OutOfRange(AssayError):
    code = "OUT_OF_RANGE"


class Unimplemented(AssayError):
    code = "UNIMPLEMENTED"


class ResourceExhausted(AssayError):
    code = "RESOURCE_EXHAUSTED"


class Unavailable(AssayError):
    """A part the call needs is away for now; `retry_after_s` defaults to one second."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, *, reason: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, reason=reason, retry_after_s=retry_after_s)


class DataLoss(AssayError):
    """Stored bytes do not match their hash."""

    code = "DATA_LOSS"


class PermissionDenied(AssayError):
    code = "PERMISSION_DENIED"


class Unauthenticated(AssayError):
    code = "UNAUTHENTICATED"


class Cancelled(AssayError):
    code = "CANCELLED"

    def __init__(self, message: str = "cancelled by the caller", *, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)


class DeadlineExceeded(AssayError):
    code = "DEADLINE_EXCEEDED"

    def __init__(self, message: str = "the deadline passed before the work was done", *, reason: str | None = None):
        super().__init__(message, reason=reason)


class Internal(AssayError):
    """A defect of ours; the message holds an error id and nothing of the cause."""

    code = "INTERNAL"


BY_CODE: dict[str, type[AssayError]] = {
    kind.code: kind
    for kind in (
        InvalidInput, NotFound, AlreadyExists, FailedPrecondition, Aborted, OutOfRange, Unimplemented,
        ResourceExhausted, Unavailable, DataLoss, PermissionDenied, Unauthenticated, Cancelled,
        DeadlineExceeded, Internal,
    )
}  # fmt: skip


def from_code(
    code: str,
    message: str,
    *,
    reason: str = "",
    violations: Sequence[FieldViolation] = (),
    retry_after_s: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> AssayError:
    """The error of gRPC status `code`, as the caller of a remote service raises it again."""
    kind = BY_CODE.get(code, Internal)
    return _rebuild(kind, message, reason or code, tuple(violations), retry_after_s, dict(metadata or {}))
