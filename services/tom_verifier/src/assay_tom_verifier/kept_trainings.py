"""Where trainings keep what they have, for when they are cut off."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from assay.config import Config

KEPT_S = 7 * 24 * 3600.0


@contextmanager
def kept(operation_id: str, part: str) -> Iterator[Path]:
    """A folder of the operation's own in which a step that was cut off finds what it had; gone once it is through.

    What nobody came back for within KEPT_S is removed when the next training begins. Being cancelled removes nothing: a
    front that goes away cancels its steps too, and the next one takes them up.
    """
    root = (Config.from_environment().cache_dir or Path(platformdirs.user_cache_dir("assay"))) / "tom-verifier"
    own = root / hashlib.sha256(operation_id.encode()).hexdigest()[:32]
    _sweep(root, own)
    yield own / part
    shutil.rmtree(own / part, ignore_errors=True)
    with suppress(OSError):  # another part of it is still at work
        own.rmdir()


def _sweep(root: Path, own: Path) -> None:
    if not root.is_dir():
        return
    for folder in root.iterdir():
        with suppress(FileNotFoundError):  # swept by someone else meanwhile
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if folder != own and newest < time.time() - KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
