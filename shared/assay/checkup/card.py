"""The report card as one JSON document; `report-card.schema.json` beside this file says what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from assay import __version__
from assay.artifacts.manifest import Artifact
from assay.checkup.examine import Answer
from assay.checkup.facts import ModelFacts

FORMAT = "assay-report-card"
SCHEMA_VERSION = 1


def card_document(model: ModelFacts, text: Artifact, text_name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """Everything the card says, lineage included; plots stay in their section's artifact."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "assay_version": __version__,
        "model": {**asdict(model), "name": readable(model.name), "dtypes": dict(model.dtypes)},
        "text": {
            "name": readable(text_name),
            "digest": text.digest,
            "size_bytes": text.manifest.size_bytes,
        },
        "sections": [_section(answer) for answer in answers],
        "artifacts": [_artifact(artifact) for artifact in _in_order(answer.lineage for answer in answers)],
    }


def readable(name: str) -> str:
    """A name of this machine's file system as text; bytes that are none become U+FFFD."""
    return name.encode("utf-8", "replace").decode()


def _section(answer: Answer) -> dict[str, Any]:
    error = answer.error
    return {
        "service": answer.service,
        "state": answer.state,
        "seconds": round(answer.seconds, 3),
        "operation": answer.operation or None,
        "artifact": answer.digest or None,
        "section": answer.section.to_document() if answer.section else None,
        "error": {"code": error.code, "reason": error.reason, "message": error.message} if error else None,
    }


def _artifact(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "digest": artifact.digest,
        "kind": manifest.kind,
        "size_bytes": artifact.size_bytes,
        "files": [{"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in manifest.files],
        "inputs": list(manifest.inputs),
        "parameters": dict(manifest.parameters),
        "versions": dict(manifest.versions),
    }


def _in_order(lineages: Iterable[Sequence[Artifact]]) -> Iterable[Artifact]:
    """Each artifact once, inputs before what was made from them."""
    found: dict[str, Artifact] = {}
    for lineage in lineages:
        for artifact in lineage:
            found.setdefault(artifact.digest, artifact)
    return found.values()


def versions(document: Mapping[str, Any]) -> dict[str, str]:
    """Of the software behind the sections, by package."""
    by_digest = {artifact["digest"]: artifact for artifact in document["artifacts"]}
    found: dict[str, str] = {"assay": document["assay_version"]}
    for section in document["sections"]:
        found.update(by_digest.get(section["artifact"], {}).get("versions", {}))
    return found
