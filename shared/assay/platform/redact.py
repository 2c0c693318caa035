"""Takes secrets out of what may be shown to others."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

from assay.platform.api import Object

GONE = "(removed)"
NAMES = re.compile(
    r"(?i)(pass(word|wd)?|secret|token|credential|api[-_]?key|access[-_]?key|private[-_]?key|\bkey$|_key$|auth$)"
)
# Names that only point at a secret.
POINTERS = re.compile(
    r"(?i)(secretkeyref|secretname|existingsecret|secretref|tokenpath|serviceaccounttoken|imagepullsecrets)"
)
SHORTEST = 6
TEXTS = (
    (re.compile(r"(?i)(\b(?:authorization|proxy-authorization)[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)?\s*)[^\s\"',;]+"), rf"\1{GONE}"),
    (re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{6,}"), rf"\1{GONE}"),
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s:@\"']*:[^/\s@\"']+@"), rf"\1{GONE}@"),
    (re.compile(r"(?i)([?&][^=&\s]*(?:signature|token|secret|password|key|credential)[^=&\s]*=)[^&\s\"']+"), rf"\1{GONE}"),
    (re.compile(r"(?i)(\b[\w.-]*(?:password|passwd|secret|token|api[-_]?key|access[-_]?key|secret[-_]?key)[\w.-]*[\"']?\s*[:=]\s*[\"']?)(?!\(removed\)|Bearer\b)[^\s\"',;&}]{4,}"), rf"\1{GONE}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), GONE),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), GONE),
)  # fmt: skip


class Redactor:
    """known: values that are secret wherever they turn up, plainly or in base64."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        values = {value for value in known if len(value.strip()) >= SHORTEST}
        coded = {base64.b64encode(value.encode()).decode() for value in values}
        every = sorted(values | coded | {value.strip() for value in values}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, every))) if every else None

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(GONE, text)
        for pattern, replacement in TEXTS:
            text = pattern.sub(replacement, text)
        return text

    def document(self, found: Any) -> Any:
        """A Kubernetes object, or Helm's values: data of Secrets, and every value under a secret-like name."""
        if isinstance(found, dict) and found.get("kind") == "Secret":
            found = {**found, **{part: _emptied(found[part]) for part in ("data", "stringData") if part in found}}
            annotations = found.get("metadata", {}).get("annotations")
            if annotations:  # kubectl keeps a copy of what was applied
                found["metadata"] = {**found["metadata"], "annotations": _emptied(annotations)}
        return self._inside(found, "")

    def _inside(self, found: Any, name: str) -> Any:
        if isinstance(found, dict):
            if (
                isinstance(found.get("name"), str)
                and isinstance(found.get("value"), str)
                and NAMES.search(found["name"])
            ):
                found = {**found, "value": GONE}
            return {self.text(key): self._inside(value, key) for key, value in found.items()}
        if isinstance(found, list):
            return [self._inside(each, name) for each in found]
        if isinstance(found, str):
            if NAMES.search(name) and not POINTERS.search(name) and found:
                return GONE
            return self.text(found)
        return found


def _emptied(data: Object | None) -> Object:
    return dict.fromkeys(data or {}, GONE)
