"""What an artifact is: its manifest, and the canonical bytes whose hash is the artifact's name."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from assay.artifacts.objects import MAX_KEY_PART_BYTES, encode
from assay.errors import InvalidInput

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None

MAX_MANIFEST_BYTES = 3 * 2**20  # one message of 4 MiB has to take it
MAX_PATH_BYTES = 1024
MAX_DEPTH = 32
MAX_EXACT_INTEGER = 2**53

_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class File:
    """One member of the tree; `sha256` is lower-case hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A tree of files and how it came about. Checked and put into canonical order when made.

    files: sorted by path. inputs: digests of artifacts this one was made from, sorted.
    parameters: what it was made with. versions: of the software that made it.
    Raises InvalidInput for anything that does not belong into an artifact.
    """

    kind: str
    files: tuple[File, ...]
    inputs: tuple[str, ...] = ()
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise InvalidInput("kind", "is not a word of lower-case letters, digits and '-', 64 at most")
        check_files(self.files)
        for index, digest in enumerate(self.inputs):
            check_digest(digest, f"inputs[{index}]")
        object.__setattr__(self, "files", tuple(sorted(self.files)))
        object.__setattr__(self, "inputs", tuple(sorted(set(self.inputs))))
        object.__setattr__(self, "parameters", canonical_object(self.parameters, "parameters"))
        for name, version in self.versions.items():
            if not isinstance(version, str):
                raise InvalidInput(f"versions.{name}", "is no string; write the version as text")
        object.__setattr__(self, "versions", canonical_object(self.versions, "versions"))

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def file(self, path: str) -> File:
        """The member at `path`; InvalidInput where there is none."""
        for file in self.files:
            if file.path == path:
                return file
        known = ", ".join(file.path for file in self.files[:5])
        raise InvalidInput("path", f"is no file of this artifact; it holds {known}")

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8. Raises InvalidInput where it is too large."""
        document = {
            "files": [{"path": f.path, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in self.files],
            "inputs": list(self.inputs),
            "kind": self.kind,
            "parameters": self.parameters,
            "schema_version": 1,
            "versions": self.versions,
        }
        data = encode(
            json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False), "manifest"
        )
        if len(data) > MAX_MANIFEST_BYTES:
            raise InvalidInput(
                "files",
                f"make a manifest of {len(data)} bytes, at most {MAX_MANIFEST_BYTES}; pack them into fewer files",
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Reads what `to_bytes` wrote; ValueError (InvalidInput for its content) where it is something else."""
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("schema_version") != 1:
            raise ValueError("no manifest of schema version 1")
        try:
            return cls(
                kind=document["kind"],
                files=tuple(File(f["path"], f["size_bytes"], f["sha256"]) for f in document["files"]),
                inputs=tuple(document["inputs"]),
                parameters=document["parameters"],
                versions=document["versions"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("a manifest with missing or misshapen parts") from error

    @property
    def digest(self) -> str:
        return digest_of(self.to_bytes())


@dataclass(frozen=True)
class Artifact:
    """An artifact's name and what it is."""

    digest: str
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        return self.manifest.size_bytes


def digest_of(manifest_bytes: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest_bytes).hexdigest()}"


def check_digest(digest: str, name: str) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(name, "is no digest; write sha256: and 64 lower-case hex digits")
    return digest


def check_sha256(sha256: str, name: str) -> str:
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise InvalidInput(name, "is no SHA-256; write 64 lower-case hex digits")
    return sha256


def check_files(files: Sequence[File]) -> None:
    """Raises InvalidInput unless the files can all be written below one folder, on any file system."""
    if not files:
        raise InvalidInput("files", "is empty; an artifact holds at least one file")
    for index, file in enumerate(files):
        check_path(file.path, f"files[{index}].path")
        check_sha256(file.sha256, f"files[{index}].sha256")
        if not isinstance(file.size_bytes, int) or isinstance(file.size_bytes, bool) or file.size_bytes < 0:
            raise InvalidInput(f"files[{index}].size_bytes", "is no size; give a number of bytes, at least 0")
    check_collisions([file.path for file in files])


def check_path(path: str, name: str) -> None:
    """A member's path is relative, with "/" between parts none of which is empty, "." or ".."."""
    if not isinstance(path, str) or not path:
        raise InvalidInput(name, "is empty; name the file")
    if len(encode(path, name)) > MAX_PATH_BYTES:
        raise InvalidInput(name, f"is longer than {MAX_PATH_BYTES} bytes; shorten it")
    if "\\" in path or ":" in path or any(unicodedata.category(character) == "Cc" for character in path):
        raise InvalidInput(name, "holds a control character, a backslash or a colon; rename the file")
    if path.startswith("/"):
        raise InvalidInput(name, "is absolute; make it relative to the artifact's folder")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise InvalidInput(name, f"has the part {part!r}; every part must name a file or folder below the artifact")
        if len(part.encode()) > MAX_KEY_PART_BYTES:
            raise InvalidInput(name, f"has a part longer than {MAX_KEY_PART_BYTES} bytes; shorten it")


def check_collisions(paths: Iterable[str]) -> None:
    """Refuses duplicates and a file that is another's folder, also where only case or Unicode form differ."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in seen:
            raise InvalidInput("files", f"has {path!r} and {seen[folded]!r}, one name on some file systems; rename one")
        seen[folded] = path
        parts, folded_parts = path.split("/"), folded.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folders.setdefault("/".join(folded_parts[:depth]), folder) != folder:
                raise InvalidInput("files", f"has folders that differ from {folder!r} in case only; rename one")
    for folded, path in seen.items():
        if folded in folders:
            raise InvalidInput("files", f"has {path!r} both as a file and as a folder; rename one")


def canonical_object(value: Mapping[str, JSON], name: str) -> dict[str, JSON]:
    """A copy in which equal numbers are written alike (2.0 becomes 2), because protobuf's Struct knows only doubles."""
    if not isinstance(value, Mapping):
        raise InvalidInput(name, "is no JSON object; give names and values")
    return {key: _canonical(item, f"{name}.{key}", 1) for key, item in _sorted_items(value, name)}


def _sorted_items(value: Mapping[str, JSON], name: str) -> list[tuple[str, JSON]]:
    for key in value:
        if not isinstance(key, str):
            raise InvalidInput(name, f"has the key {key!r}, which is no string")
        encode(key, name)
    return sorted(value.items())


def _canonical(value: JSON, name: str, depth: int) -> JSON:
    if depth > MAX_DEPTH:
        raise InvalidInput(name, f"is nested deeper than {MAX_DEPTH} levels; flatten it")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        encode(value, name)
        return value
    if isinstance(value, int | float):
        return _canonical_number(value, name)
    if isinstance(value, Mapping):
        return {key: _canonical(item, f"{name}.{key}", depth + 1) for key, item in _sorted_items(value, name)}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_canonical(item, f"{name}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise InvalidInput(name, f"is a {type(value).__name__}, which JSON does not know")


def _canonical_number(value: float, name: str) -> int | float:
    if not math.isfinite(value):
        raise InvalidInput(name, "is not finite; leave it out or write it as a string")
    if value != int(value):
        return float(value)
    if abs(value) > MAX_EXACT_INTEGER:
        if isinstance(value, int):
            raise InvalidInput(name, "is an integer beyond 2**53, which a double cannot hold; write it as a string")
        return float(value)
    return int(value)
