"""An object store in a local directory, safe against crashes and between processes.

    <root>/objects/<key>    the objects
    <root>/incoming/        files being written; each is locked by its writer
    <root>/locks/           one lock file for each 1/256 of the keys

A write goes to a file in incoming/, which is synced and then linked (put-if-absent) or renamed
(compare-and-swap) to its name, so a key never shows half an object. A lock on the incoming file dies with its
writer, which is how the leftovers of a crashed one are told from a write in progress.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from assay.artifacts.objects import ObjectInfo, check_key, check_prefix, check_range
from assay.errors import (
    Aborted,
    AssayError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

COPY_BYTES = 2**20


class LocalObjectStore:
    """Objects below `root`, which is made where it does not exist. All of them lie on one file system."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._objects = self.root / "objects"
        self._incoming = self.root / "incoming"
        self._locks = self.root / "locks"
        with _os_errors():
            for folder in (self._objects, self._incoming, self._locks):
                folder.mkdir(parents=True, exist_ok=True)
            self.discard_leftovers()

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        check_range(offset, length)
        with self.open(key) as stream, _os_errors():
            stream.seek(offset)
            return stream.read(-1 if length is None else length)

    def open(self, key: str) -> BinaryIO:
        with _os_errors():
            try:
                return self.file(key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._check_mounted()
                raise _not_found(key) from None

    def head(self, key: str) -> ObjectInfo | None:
        with _os_errors():
            try:
                status = self.file(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                self._check_mounted()
                return None
            return None if _is_directory(status) else _info(key, status)

    def put_if_absent(self, key: str, data: bytes | Path, *, sha256: str | None = None) -> bool:
        target = self.file(key)
        with _os_errors():
            if target.is_file():
                return False
            with self._written(data, sha256) as incoming:
                return self._link(incoming, target)

    def compare_and_swap(self, key: str, data: bytes, expected: str | None) -> str | None:
        target = self.file(key)
        with _os_errors(), self._written(data) as incoming:
            if expected is None:
                # The hard link keeps the incoming file's inode, so its status tells the version.
                version = _version(incoming.stat())
                return version if self._link(incoming, target) else None
            with self._locked(key):
                current = self.head(key)
                if current is None or current.version != expected:
                    return None
                # A version must never come back: its clock always moves on, even if the system's does not.
                moment = max(time.time_ns(), target.stat().st_mtime_ns + 1)
                os.utime(incoming, ns=(moment, moment))
                version = _version(incoming.stat())
                os.rename(incoming, target)
                _sync_directory(target.parent)
                return version

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        folder = prefix.rpartition("/")[0]
        self._check_mounted()
        with _os_errors():
            yield from self._walk(self._objects / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        target = self.file(key)
        with _os_errors(), self._locked(key), suppress(FileNotFoundError, NotADirectoryError):
            target.unlink()
            _sync_directory(target.parent)

    def _check_mounted(self) -> None:
        """Tells a store that is gone, such as an unmounted disk, from a key that is not there."""
        if not self._objects.is_dir():
            raise Unavailable("the object store's directory is gone; mount it, or put it back, and try again")

    def check(self) -> None:
        probe = f"probes/{uuid.uuid4().hex}"
        try:
            honoured = self.put_if_absent(probe, b"1") and not self.put_if_absent(probe, b"2")
            version = self.compare_and_swap(probe, b"3", "no such version")
            if not honoured or version is not None or self.get(probe) != b"1":
                raise FailedPrecondition("the store's file system ignores conditional writes; use another directory")
        finally:
            with suppress(AssayError):
                self.delete(probe)

    def file(self, key: str) -> Path:
        """Where the object lies, for readers that want to map it instead of copying it. Never write to it."""
        return self._objects / check_key(key)

    def discard_leftovers(self) -> int:
        """Removes what crashed writers left in incoming/; returns how many files."""
        discarded = 0
        for leftover in self._incoming.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), leftover.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
                discarded += 1
        return discarded

    @contextmanager
    def _written(self, data: bytes | Path, sha256: str | None = None) -> Iterator[Path]:
        """A synced file in incoming/ that holds `data` and is gone afterwards."""
        stream = self._create()
        incoming = Path(stream.name)
        try:
            with stream:
                digest = _copy(data, stream)
                if sha256 is not None and digest != sha256:
                    raise Aborted("the file changed while it was stored; put it again once nothing writes to it")
                stream.flush()
                # The kernel's own stamp is as coarse as its tick; versions need better.
                os.utime(stream.fileno(), ns=(time.time_ns(),) * 2)
                os.fchmod(stream.fileno(), 0o444)
                os.fsync(stream.fileno())
                yield incoming
        finally:
            incoming.unlink(missing_ok=True)

    def _create(self) -> BinaryIO:
        while True:
            stream = (self._incoming / uuid.uuid4().hex).open("xb")
            fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(stream.fileno()).st_nlink:
                return cast(BinaryIO, stream)
            # Someone who looked for leftovers took the file before it was locked.
            stream.close()

    def _link(self, incoming: Path, target: Path) -> bool:
        try:
            _make_directories(target.parent)
            os.link(incoming, target)
        except FileExistsError:
            if target.is_dir():
                raise _folder_conflict() from None
            return False
        except NotADirectoryError:
            raise _folder_conflict() from None
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise FailedPrecondition("the store's file system has no hard links; use another directory") from error
            raise
        _sync_directory(target.parent)
        return True

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        name = hashlib.sha256(key.encode()).hexdigest()[:2]
        with (self._locks / name).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(folder) as scan:
                # A folder sorts as its objects do: with the slash that follows its name.
                entries = sorted((os.fsencode(f"{e.name}/" if e.is_dir() else e.name), e) for e in scan)
        except (FileNotFoundError, NotADirectoryError):
            return
        for _, entry in entries:
            key = base + entry.name
            if entry.is_dir():
                if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(Path(entry.path), f"{key}/", prefix)
            elif key.startswith(prefix):
                with suppress(FileNotFoundError):
                    yield _info(key, entry.stat())


def _copy(data: bytes | Path, stream: BinaryIO) -> str:
    if isinstance(data, bytes):
        stream.write(data)
        return hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    try:
        source = data.open("rb")
    except OSError as error:
        raise InvalidInput("data", "cannot be read as a file; check that it exists and is readable") from error
    with source:
        while chunk := source.read(COPY_BYTES):
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


def _make_directories(folder: Path) -> None:
    """Creates `folder` and syncs the parents of what is new, so that a stored object stays reachable."""
    if folder.is_dir():
        return
    _make_directories(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise _folder_conflict() from None
    _sync_directory(folder.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_directory(status: os.stat_result) -> bool:
    return (status.st_mode & 0o170000) == 0o040000


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, _version(status), status.st_mtime)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"


def _not_found(key: str) -> NotFound:
    return NotFound(f"there is no object {key}; list the store to see what there is")


def _folder_conflict() -> InvalidInput:
    return InvalidInput("key", "is a folder of another key, or lies below one; choose another")


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns what the operating system reports into errors that may be shown to a caller: without paths."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(
                "no space is left for the object store; free some, or run `assay artifacts gc`"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied("the object store's directory is not writable; change its permissions") from error
        if isinstance(error, NotADirectoryError | IsADirectoryError):
            raise _folder_conflict() from error
        raise Unavailable("the object store's directory does not answer; check the disk, then try again") from error
