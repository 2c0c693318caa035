"""A real front of an installed service, started as a deployment starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


class ServiceProcess:
    """A front of one installed service, in a process of its own; `kill` is SIGKILL.

    module: what Python runs; another than the server's own sets something up and then runs that.
    """

    def __init__(
        self,
        service: str,
        store: str,
        engine: str = "in-process",
        environment: Mapping[str, str] | None = None,
        module: str = "assay.server",
    ) -> None:
        environment = {
            **os.environ,
            **(environment or {}),
            "ASSAY_STORE": store,
            "ASSAY_LISTEN": "127.0.0.1:0",
            "ASSAY_DRAIN_S": "0",
            "ASSAY_ENGINE": engine,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, service],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self._read_address()
        # Whoever does not read the log blocks who writes it.
        threading.Thread(target=self._drain, daemon=True).start()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    def cpu_seconds(self) -> float:
        """CPU time that all threads of the process have used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _read_address(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"serving .* on (127\.0\.0\.1:\d+)", line):
                return found[1]
        raise RuntimeError("the front did not start")

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for _ in self.process.stderr:
            pass
