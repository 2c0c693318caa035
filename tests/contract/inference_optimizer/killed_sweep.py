"""A sweep of sessions that dies in the middle, for a process of its own; brings no torch."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from assay.artifacts.local import LocalObjectStore
from assay_inference_optimizer.session_expiry import sweep


def sweep_and_die(folder: Path, where: str, ttl_s: float) -> None:
    """SIGKILL at the second call of the object store's method `where`."""
    objects: Any = LocalObjectStore(folder)
    calls, method = [], getattr(objects, where)

    def last(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments)

    setattr(objects, where, last)
    sweep(objects, ttl_s)
