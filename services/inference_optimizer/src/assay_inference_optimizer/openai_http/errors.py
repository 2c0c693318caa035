"""Failures as OpenAI's clients read them: a status code and an `error` object."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from assay.errors import AssayError

STATUS = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {"CONTEXT_LENGTH": "context_length_exceeded"}


def status_of(error: AssayError) -> int:
    if error.code == "RESOURCE_EXHAUSTED" and not error.retry_after_s:
        return 413  # it would not fit another time either
    return STATUS.get(error.code, 500)


def error_body(error: AssayError) -> dict[str, Any]:
    status = status_of(error)
    code = CODES.get(error.reason, error.reason.lower())
    if status == 404:
        code = "model_not_found"
    param = error.violations[0].field if error.violations and error.violations[0].field else None
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def error_response(error: AssayError) -> JSONResponse:
    headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if error.retry_after_s else None
    return JSONResponse(error_body(error), status_of(error), headers)
