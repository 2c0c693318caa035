"""Exit codes by kind of failure, so that scripts need not read messages."""

from __future__ import annotations

from assay.errors import AssayError

CODES = {
    "INVALID_ARGUMENT": 2,
    "OUT_OF_RANGE": 2,
    "NOT_FOUND": 3,
    "ALREADY_EXISTS": 4,
    "ABORTED": 4,
    "FAILED_PRECONDITION": 5,
    "UNIMPLEMENTED": 6,
    "PERMISSION_DENIED": 7,
    "UNAUTHENTICATED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNAVAILABLE": 9,
    "DEADLINE_EXCEEDED": 9,
    "DATA_LOSS": 10,
    "CANCELLED": 130,
}


def exit_code(error: AssayError) -> int:
    """1 stands for a defect of ours, 2 for bad input (as click's own), 130 for Ctrl-C."""
    return CODES.get(error.code, 1)
