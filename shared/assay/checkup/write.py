"""The card on disk: report.html and report.json, each replaced as a whole, and nothing of anyone else's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.checkup.card import FORMAT
from assay.errors import AlreadyExists, AssayError, PermissionDenied

HTML, JSON = "report.html", "report.json"
HEAD_BYTES = 4096  # a card says what it is within these


def check_destination(folder: Path) -> None:
    """Makes `folder`; raises before any work is done where a card could not be written there later."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in (HTML, JSON):
            path = folder / name
            if path.exists() and FORMAT.encode() not in _head(path):
                raise AlreadyExists(f"{path} is there already and is no report card; name another directory with --out")
    except OSError as error:
        raise _refused(folder, error) from None


def write_card(folder: Path, document: Mapping[str, Any], html: str) -> Path:
    """Replaces the card in `folder` and returns the path of its page."""
    data = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    try:
        _replace(folder / JSON, data)
        _replace(folder / HTML, html)
    except OSError as error:
        raise _refused(folder, error) from None
    return folder / HTML


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.chmod(0o666 & ~_umask())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _refused(folder: Path, error: OSError) -> AssayError:
    return PermissionDenied(f"{folder}: no report can be written there ({error.strerror}); name another with --out")
