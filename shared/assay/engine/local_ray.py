"""A Ray cluster on this machine whose Serve holds engines: what `assay serve --engine ray` and the tests start.

Ray runs in processes of its own, below `assay.engine.local_ray_head`; this side needs no Ray. The cluster ends
with the process that started it, however that ends. Ray's ports are bound to loopback; the two that Ray Serve
binds to every interface take calls only with a token made for this cluster.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from assay.engine.serve_mode import CHOSEN, MODES, own_haproxy, own_replica_ports
from assay.engine.serve_wire import TOKEN_VARIABLE
from assay.errors import FailedPrecondition, Unavailable

MARK = "ASSAY_LOCAL_RAY"  # in the environment of every process of a cluster, to find what a crash leaves behind
FOLDER = "ASSAY_LOCAL_RAY_FOLDER"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
PORTS_OF_A_CLUSTER = 1000


@dataclass(frozen=True)
class EngineSpec:
    """One Serve application; the rest as `assay.engine.serve_app.application` takes it.

    cpus: none is reserved, so that all of the machine's are there for data-parallel work of the steps.
    """

    name: str
    engine_module: str
    replicas: str = "1"
    cpus: float = 0.0
    threads: int = os.cpu_count() or 1
    downscale_delay_s: float = 300.0
    drain_s: float = 120.0


class LocalRay:
    """Call `start`, later `stop`; the address stays the same over `kill` and another `start`.

    store: URL of the artifact store (ASSAY_STORE). environment: for every process of the cluster, over this one's.
    cpus: how many data-parallel tasks Ray runs at once, by default one a core.
    """

    def __init__(
        self,
        engines: Sequence[EngineSpec],
        store: str,
        *,
        mode: str = CHOSEN,
        cpus: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._engines = list(engines)
        self._store = store
        self._cpus = cpus or os.cpu_count() or 1
        self._mode = mode
        self._environment = dict(environment or {})
        self._block, self._first_port = _block_of_ports()
        self._grpc_port, self._http_port, *self._haproxy_ports = _free_ports(6)
        self._mark = secrets.token_hex(8)
        self._head: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self.token = secrets.token_hex(32)

    @property
    def address(self) -> str:
        """Serve's internal gRPC port, for `ServeEngine`."""
        return f"127.0.0.1:{self._grpc_port}"

    def start(self) -> None:
        """Returns once every engine answers. Raises Unavailable with the end of Ray's log where that fails."""
        if importlib.util.find_spec("ray") is None:
            raise FailedPrecondition("a local Ray needs more packages; pip install 'assay-platform[ray]'")
        # Ray's sockets lie deep below its folder, and a socket's path ends after about 100 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
        with (self._folder / "head.log").open("wb") as log:
            self._head = subprocess.Popen(
                [sys.executable, "-m", "assay.engine.local_ray_head"],
                env=self._environment_of(self._folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl-C in the terminal is ours to pass on
            )
        specification = {
            "cpus": self._cpus,
            "grpc_port": self._grpc_port,
            "http_port": self._http_port,
        }
        try:
            self._tell(specification)
            self.deploy(self._engines)
        except BaseException:
            self.stop()
            raise

    def deploy(self, engines: Sequence[EngineSpec]) -> None:
        """Makes `engines` what runs; one that ran already is replaced without a gap, replica by replica."""
        self._engines = list(engines)
        self._tell({"deploy": [asdict(engine) for engine in engines]})

    def processes(self) -> list[int]:
        """Pids of the cluster's processes (Linux alone; elsewhere the head's)."""
        if not Path("/proc/self/environ").exists():
            return [self._head.pid] if self._head and self._head.poll() is None else []
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        found.append(int(folder.name))
        return found

    def kill(self) -> None:
        """SIGKILL to every process of the cluster; nothing of it is left when this returns."""
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.02)
        self._remove()

    def stop(self) -> None:
        """Ends the cluster; what does not end by itself is killed."""
        if self._head is not None and self._head.stdin is not None:
            with contextlib.suppress(OSError):
                self._head.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._head.wait(STOP_TIMEOUT_S)
        self.kill()

    def log(self, last_bytes: int = 3000) -> str:
        """The end of the head's log."""
        return (self._folder / "head.log").read_text(errors="replace")[-last_bytes:] if self._folder else ""

    def _tell(self, message: Mapping[str, object]) -> None:
        head = self._head
        if head is None or head.stdin is None or head.stdout is None:
            raise Unavailable("the local Ray cluster is not running; start it")
        answer = ""
        timer = threading.Timer(START_TIMEOUT_S, head.kill)  # ends the wait below
        timer.start()
        try:
            head.stdin.write(json.dumps(message) + "\n")
            head.stdin.flush()
            answer = head.stdout.readline().strip()
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        if answer != "ready":
            raise Unavailable(f"the local Ray cluster did not start; the end of its log:\n{answer}\n{self.log()}")

    def _environment_of(self, folder: Path) -> dict[str, str]:
        stats, metrics, fallback_http, fallback_grpc = self._haproxy_ports
        return {
            **os.environ,
            **MODES[self._mode],
            **(own_haproxy(folder, (stats, metrics, fallback_http, fallback_grpc)) if self._mode == "haproxy" else {}),
            **own_replica_ports(self._first_port + 1, PORTS_OF_A_CLUSTER - 1),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "ASSAY_STORE": self._store,
            TOKEN_VARIABLE: self.token,
            MARK: self._mark,
            FOLDER: str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray calls loopback addresses "no cluster" and knows them by this name only.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Whoever reaches a Ray port may run code; the token shuts out the machine's other users.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            **self._environment,
        }

    def _reap(self) -> None:
        if self._head is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._head.wait(1)

    def _remove(self) -> None:
        self._reap()
        if self._head is not None:
            for stream in (self._head.stdin, self._head.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._head = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


@contextlib.contextmanager
def local_ray(engines: Sequence[EngineSpec], store: str) -> Iterator[LocalRay]:
    """A cluster that is up inside the `with`."""
    cluster = LocalRay(engines, store)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _block_of_ports() -> tuple[socket.socket, int]:
    """The first of PORTS_OF_A_CLUSTER ports that no other cluster of this machine takes while the socket lives."""
    for first in range(11_000, 32_000, PORTS_OF_A_CLUSTER):  # below those that systems hand out
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first))
            return guard, first
        except OSError:
            guard.close()
    raise Unavailable("too many local Ray clusters run on this machine; stop some")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
