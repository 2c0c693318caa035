"""What a look at the cluster found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """name: what was looked at; found: as it is; remedy: the next step, empty where none is needed.

    fail: an installation would not become ready, or would touch what is not its own. warn: it may, or nobody can say
    from here.
    """

    name: str
    result: Result
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def warn(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, "warn", found, remedy)


def fail(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, "fail", found, remedy)


def failed(findings: Sequence[Finding]) -> list[Finding]:
    return [each for each in findings if each.result == "fail"]


def several(names: Sequence[str], most: int = 5) -> str:
    """The first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
