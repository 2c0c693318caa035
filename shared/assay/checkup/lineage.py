"""What the sections were made from, as trees: a section at each root, its inputs below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 64  # a page nests no deeper; what lies below is in report.json


@dataclass(frozen=True)
class Node:
    """artifact: as in report.json; None where it is named and not described. again: it stands in full above."""

    digest: str
    artifact: Mapping[str, Any] | None
    again: bool
    inputs: Sequence[Node]


def forest(document: Mapping[str, Any]) -> Sequence[Node]:
    """A tree for each section; an artifact that several were made from is shown in full once."""
    by_digest = {artifact["digest"]: artifact for artifact in document["artifacts"]}
    shown: set[str] = set()

    def grow(digest: str, depth: int) -> Node:
        artifact = by_digest.get(digest)
        again = digest in shown
        shown.add(digest)
        if artifact is None or again or depth >= MAX_DEPTH:
            return Node(digest, artifact, again, ())
        return Node(digest, artifact, False, [grow(source, depth + 1) for source in artifact["inputs"]])

    roots = [answer["artifact"] for answer in document["sections"] if answer["artifact"]]
    return [grow(digest, 0) for digest in dict.fromkeys(roots)]


def short(digest: str) -> str:
    """The digits a person compares."""
    return digest.removeprefix("sha256:")[:12]
