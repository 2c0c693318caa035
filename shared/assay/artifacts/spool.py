"""Where an upload waits until it is known to be whole."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from assay.errors import Aborted, InvalidInput, ResourceExhausted


class Spool:
    """A temporary file for content of a declared size and hash; gone when the `with` block ends, however it ends.

    Blocking: a server calls it in a worker thread. Raises ResourceExhausted where the disk cannot take it.
    """

    def __init__(self, sha256: str, size_bytes: int) -> None:
        self.sha256 = sha256
        self.size_bytes = size_bytes
        if shutil.disk_usage(tempfile.gettempdir()).free < size_bytes:
            raise _full()
        self._digest = hashlib.sha256()
        self._received_bytes = 0
        with _disk_errors():
            self._file = tempfile.NamedTemporaryFile(prefix="assay-upload-")  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, data: bytes) -> None:
        """InvalidInput once more arrives than was declared."""
        self._received_bytes += len(data)
        if self._received_bytes > self.size_bytes:
            raise InvalidInput("data", f"exceeds the declared {self.size_bytes} bytes; declare the file's size")
        self._digest.update(data)
        with _disk_errors():
            self._file.write(data)

    def whole(self) -> Path:
        """The file, once it holds what was declared; Aborted otherwise."""
        if self._received_bytes != self.size_bytes or self._digest.hexdigest() != self.sha256:
            raise Aborted("what arrived does not match the declared size and hash; nothing was kept, upload it again")
        with _disk_errors():
            self._file.flush()
        return Path(self._file.name)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full() from error
        raise


def _full() -> ResourceExhausted:
    return ResourceExhausted("the service has no room to receive the file; try again later or upload it elsewhere")
