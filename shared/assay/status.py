"""AssayError to google.rpc.Status and back: the one form in which failures travel."""

from __future__ import annotations

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from assay.errors import AssayError, FieldViolation, from_code

DOMAIN = "assay"
# A status travels in headers, which gRPC cuts at 8 KiB: percent-encoded the message, in base64 the details.
MESSAGE_BYTES = 1200
VIOLATIONS_BYTES = 1200


def to_status(error: AssayError) -> status_pb2.Status:
    """`error` with its reason (ErrorInfo), fields at fault (BadRequest) and when to retry (RetryInfo).

    What an error quotes of its request may be long; it is cut to what every client can receive.
    """
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=_cut(error.message, MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    _pack(status, info)
    if error.violations:
        bad, left = error_details_pb2.BadRequest(), VIOLATIONS_BYTES
        for violation in error.violations:
            if left < 64:
                break  # no room for a sentence
            shown = bad.field_violations.add(field=_cut(violation.field, left // 3))
            shown.description = _cut(violation.description, left - shown.ByteSize())
            left -= shown.ByteSize()
        _pack(status, bad)
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_status(status: status_pb2.Status) -> AssayError:
    """The error that `to_status` was given, as far as the status tells."""
    reason, metadata, violations, retry_after_s = "", {}, [], None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after_s = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToNanoseconds() / 1e9
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    return from_code(
        code, status.message, reason=reason, violations=violations, retry_after_s=retry_after_s, metadata=metadata
    )


def _cut(text: str, limit_bytes: int) -> str:
    data = text.encode(errors="replace")  # protobuf takes no lone surrogates
    return data.decode() if len(data) <= limit_bytes else data[:limit_bytes].decode(errors="ignore") + " ..."


def _pack(status: status_pb2.Status, detail: object) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)  # type: ignore[arg-type]
    status.details.append(packed)
