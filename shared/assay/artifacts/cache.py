"""Local copies of whole artifacts, bounded in bytes and shared by the processes of a machine.

<root>/trees/<hex>/      an artifact's files, complete and verified; read-only
<root>/locks/<hex>       held shared by processes that use the tree, exclusively by one that fills or evicts
                         it; its time is the tree's last use, its content the tree's size in bytes
<root>/incoming/         trees being filled, each with a lock file held by its writer
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from assay.errors import PermissionDenied, ResourceExhausted, Unavailable

KEEP_S = 3600.0
"""A process keeps a tree for this long after it last asked for it, and longer while there is room."""


@dataclass
class _Pin:
    """A shared lock that this process holds on a tree."""

    descriptor: int
    used_monotonic_s: float


class TreeCache:
    """Trees by artifact digest (hex). `limit_bytes` may be exceeded by trees that are in use.

    A tree is in use while a process that asked for it lives, unless room is needed and the process has not
    asked again for an hour.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root = root.absolute()
        self.limit_bytes = limit_bytes
        self._trees = self.root / "trees"
        self._locks = self.root / "locks"
        self._incoming = self.root / "incoming"
        self._pins: dict[str, _Pin] = {}
        self._mutex = threading.Lock()
        with _os_errors():
            for folder in (self._trees, self._locks, self._incoming):
                folder.mkdir(parents=True, exist_ok=True)
            self._discard_leftovers()

    def find(self, name: str) -> Path | None:
        """The tree where it is cached; it is in use from then on."""
        with _os_errors():
            return self._pin(name)

    def get(self, name: str, size_bytes: int, fill: Callable[[Path], None]) -> Path:
        """The tree, filled by `fill(folder)` where it is not cached. It shows only once `fill` has returned.

        Callers that want the same tree at once wait for the one that fills it.
        """
        with _os_errors():
            while True:
                if (found := self._pin(name)) is not None:
                    return found
                with self._exclusively(name) as descriptor:
                    if descriptor is None:
                        # Someone fills it, looks for it, or has it by now; to wait for this lock would be to wait for
                        # the last of them to let go of the tree. `_pin` waits for whoever fills.
                        time.sleep(random.uniform(0.001, 0.01))
                    elif not (self._trees / name).exists():
                        self._evict(room_for_bytes=size_bytes)
                        self._fill(name, fill)
                        os.truncate(descriptor, 0)
                        os.pwrite(descriptor, str(size_bytes).encode(), 0)

    def size_bytes(self) -> int:
        return sum(self._size(name) for name in self._names())

    def close(self) -> None:
        """Lets go of every tree; what `get` returned may be evicted by others from then on."""
        with self._mutex:
            for pin in self._pins.values():
                os.close(pin.descriptor)
            self._pins.clear()

    def _pin(self, name: str) -> Path | None:
        tree = self._trees / name
        with self._mutex:
            if (pin := self._pins.get(name)) is not None:
                pin.used_monotonic_s = time.monotonic()
                os.utime(pin.descriptor)
                return tree
        descriptor = os.open(self._locks / name, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not tree.exists():
            os.close(descriptor)
            return None
        os.utime(descriptor)
        with self._mutex:
            if name in self._pins:
                os.close(descriptor)
            else:
                self._pins[name] = _Pin(descriptor, time.monotonic())
        return tree

    @contextmanager
    def _exclusively(self, name: str) -> Iterator[int | None]:
        """The lock's descriptor; None where another holds it."""
        descriptor = os.open(self._locks / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def _fill(self, name: str, fill: Callable[[Path], None]) -> None:
        with self._staging() as staging:
            staging.mkdir()
            fill(staging)
            os.rename(staging, self._trees / name)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """The name of a folder in incoming/ that nobody takes for a leftover meanwhile."""
        while True:
            staging = self._incoming / uuid.uuid4().hex
            with staging.with_suffix(".lock").open("xb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not os.fstat(lock.fileno()).st_nlink:
                    continue  # someone who looked for leftovers took it before it was locked
                try:
                    yield staging
                finally:
                    shutil.rmtree(staging, ignore_errors=True)
                    Path(lock.name).unlink(missing_ok=True)
                return

    def _evict(self, room_for_bytes: int) -> None:
        """Removes trees, longest unused first, until the new one fits or all that is left is in use."""
        self._drop_idle_pins()
        by_last_use = sorted(self._names(), key=self._last_use)
        total = room_for_bytes + sum(self._size(name) for name in by_last_use)
        for name in by_last_use:
            if total <= self.limit_bytes:
                return
            size = self._size(name)
            if self._remove(name):
                total -= size

    def _remove(self, name: str) -> bool:
        """Removes a tree unless it is in use."""
        descriptor = os.open(self._locks / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            condemned = self._incoming / uuid.uuid4().hex
            os.rename(self._trees / name, condemned)
            shutil.rmtree(condemned, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(descriptor)
        return True

    def _drop_idle_pins(self) -> None:
        oldest = time.monotonic() - KEEP_S
        with self._mutex:
            for name in [name for name, pin in self._pins.items() if pin.used_monotonic_s < oldest]:
                os.close(self._pins.pop(name).descriptor)

    def _names(self) -> list[str]:
        return os.listdir(self._trees)

    def _size(self, name: str) -> int:
        try:
            return int((self._locks / name).read_text() or 0)
        except FileNotFoundError:
            return 0

    def _last_use(self, name: str) -> float:
        try:
            return (self._locks / name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _discard_leftovers(self) -> None:
        """Removes what crashed processes left in incoming/; a live one holds the lock beside its folder."""
        for entry in self._incoming.iterdir():
            if entry.suffix == ".lock":
                with suppress(FileNotFoundError, BlockingIOError), entry.open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.with_suffix(""), ignore_errors=True)
                    entry.unlink()
            elif not entry.with_suffix(".lock").exists():
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(
                "no space is left for the artifact cache; free some, or point ASSAY_CACHE_DIR at another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied("the artifact cache is not writable; point ASSAY_CACHE_DIR elsewhere") from error
        raise Unavailable("the artifact cache's directory does not answer; check the disk, then try again") from error
