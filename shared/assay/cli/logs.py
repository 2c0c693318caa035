"""What a platform embedded in a command has to say goes into a file: a terminal shows results and one error."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

MAX_BYTES = 2**20


def log_file() -> Path:
    """Where it goes; there only once something was said."""
    import platformdirs

    return Path(platformdirs.user_log_dir("assay")) / "assay.log"


def log_to_file() -> Path:
    """The file that warnings and tracebacks go to, made when the first one comes; ASSAY_LOG_LEVEL=INFO shows more.

    `assay serve` sets up logs of its own.
    """
    path = log_file()
    logging.getLogger().addHandler(_LazyFile(path))
    wanted = os.environ.get("ASSAY_LOG_LEVEL", "").upper()
    logging.getLogger().setLevel(logging.getLevelNamesMapping().get(wanted, logging.WARNING))
    return path


class _LazyFile(logging.Handler):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._file is None:
            self._file = self._open()
        self._file.emit(record)

    def _open(self) -> logging.Handler:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            made = logging.handlers.RotatingFileHandler(self._path, maxBytes=MAX_BYTES, backupCount=1)
        except OSError:
            return logging.NullHandler()
        made.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
        return made
