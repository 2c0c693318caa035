"""Takes secrets out of what may be shown to others: by name, by form, and by value where the value is known."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

from assay.platform.api import Object

GONE = "(removed)"
SHORTEST = 6
WORDS = r"(?:passw(?:or)?d|passphrase|secret|token|credential|api[-_]?key|access[-_]?key|private[-_]?key)"
NAMES = re.compile(rf"(?i){WORDS}|[-_.]key$|\bpwd$")
# Names that only point at a secret.
POINTERS = re.compile(r"(?i)secretkeyref|secretname|existingsecret|secretref|pullsecrets|callersecret")
# Each with what stays of it in front.
FORMS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # Authorization: Bearer ...
        r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?)[^\s\"',;]+",
        r"(?i)(\bbearer\s+)[\w.~+/=-]{6,}",
        # scheme://user:password@host, and Redis' scheme://:password@host
        r"([a-zA-Z][\w+.-]*://)[^/\s:@\"']*:[^/\s@\"']+(?=@)",
        # ?token=..., &X-Amz-Signature=...
        rf"(?i)([?&][\w.%-]*(?:{WORDS}|signature|sig)[\w.%-]*=)[^&\s\"']+",
        # password: ..., "secretKey": "...", TOKEN=...
        rf"(?i)(\b[\w.-]*{WORDS}[\w.-]*[\"']?\s*[:=]\s*[\"']?)(?!bearer\b|\(removed\))[^\s\"',;&}}]{{4,}}",
        # A JSON web token; a private key.
        r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
        r"()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    )
)


class Redactor:
    """known: values that are secret wherever they turn up, plainly or in base64."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        values = {value.strip() for value in known}
        values = {value for value in values if len(value) >= SHORTEST}
        coded = {base64.b64encode(value.encode()).decode().rstrip("=") for value in values}
        longest_first = sorted(values | coded, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(GONE, text)
        for form in FORMS:
            text = form.sub(rf"\1{GONE}", text)
        return text

    def document(self, found: Any) -> Any:
        """A Kubernetes object, or Helm's values: data of Secrets, and every text under a secret-like name."""
        if isinstance(found, dict) and found.get("kind") == "Secret":
            emptied = {part: dict.fromkeys(found[part] or {}, GONE) for part in ("data", "stringData") if part in found}
            meta = dict(found.get("metadata", {}))
            if meta.get("annotations"):  # kubectl keeps a copy of what was applied
                meta["annotations"] = dict.fromkeys(meta["annotations"], GONE)
            found = {**found, **emptied, "metadata": meta}
        return self._inside(found, "")

    def _inside(self, found: Any, name: str) -> Any:
        if isinstance(found, dict):
            return {self.text(key): self._inside(value, key) for key, value in _by_name(found).items()}
        if isinstance(found, list):
            return [self._inside(each, name) for each in found]
        if not isinstance(found, str):
            return found
        hidden = found and NAMES.search(name) and not POINTERS.search(name)
        return GONE if hidden else self.text(found)


def _by_name(found: Object) -> Object:
    """An environment variable's value goes by its name."""
    if isinstance(found.get("name"), str) and isinstance(found.get("value"), str) and NAMES.search(found["name"]):
        return {**found, "value": GONE}
    return found
