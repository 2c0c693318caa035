"""Parts that tests share: real programs looked up by name, and a real MinIO server."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A loopback TCP port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_tool(name: str) -> Path:
    """The program `name` from PATH or from the folder ASSAY_TOOLS (default ../shared/tools); skips where absent.

    The folder holds programs, or an `install DEST NAME...` script that unpacks them; what it unpacks is kept in
    a folder of this user's and reused.
    """
    if on_path := shutil.which(name):
        return Path(on_path)
    tools = Path(os.environ.get("ASSAY_TOOLS", REPOSITORY / "../shared/tools")).resolve()
    if os.access(tools / name, os.X_OK) and (tools / name).is_file():
        return tools / name
    if not (tools / "install").is_file() or not (tools / "packed" / f"{name}.xz").is_file():
        pytest.skip(f"needs the program {name}: put it on PATH or in the folder that ASSAY_TOOLS names")
    unpacked = Path(tempfile.gettempdir()) / f"assay-tools-{os.getuid()}"
    unpacked.mkdir(mode=0o700, exist_ok=True)
    with (unpacked / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([tools / "install", unpacked, name], check=True, timeout=240)
    return unpacked / name


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """`tool("grpcurl")` is the path of that program; the test is skipped where it cannot be found."""
    return find_tool


class MinioServer:
    """A MinIO of the test's own on a loopback port; its data outlives `kill` and is there after `restart`."""

    access_key = "assay-test-user"
    secret_key = "assay-test-secret"

    def __init__(self, program: Path, data: Path) -> None:
        self.program = program
        self.data = data
        self.address = f"127.0.0.1:{free_port()}"
        self.endpoint = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.data.with_name(self.data.name + ".log").open("ab")
        self._process = subprocess.Popen(
            [self.program, "server", "--quiet", "--address", self.address, self.data],
            env={
                "HOME": str(self.data.parent),
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_BROWSER": "off",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        deadline = time.monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"MinIO did not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends the server the hard way (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Starts the server again on the same address and data; kills it first where it still runs."""
        self.kill()
        self.start()

    def make_bucket(self, name: str) -> str:
        """Creates a bucket and returns the URL that `open_object_store` takes for it."""
        from minio import Minio

        client = Minio(self.address, access_key=self.access_key, secret_key=self.secret_key, secure=False)
        client.make_bucket(name)
        return f"s3://{name}?endpoint={self.endpoint}"

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """One MinIO for the tests of a module; a test that kills it restarts it before it ends."""
    server = MinioServer(find_tool("minio"), tmp_path_factory.mktemp("minio") / "data")
    server.start()
    yield server
    server.kill()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the MinIO fixture is marked `minio`, so that no test can forget it."""
    for item in items:
        if "minio_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.minio)
