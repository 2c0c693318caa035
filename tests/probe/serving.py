"""Fronts of the probe service, in this process or in one of their own that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

from assay.compute import LocalCompute
from assay.config import Config
from assay.engine.engine import Engine
from assay.engine.in_process import InProcessEngine, WorkSlots
from assay.engine.step import Resources
from assay.server.front import FrontServer
from assay.server.metrics import Metrics
from assay.server.service import Service
from assay.server.settings import ServerSettings
from probe.service import FULL_NAME, SERVICE


@asynccontextmanager
async def serving(
    store: str,
    *,
    engine: Engine | None = None,
    registry: CollectorRegistry | None = None,
    beside: Sequence[Service] = (),
    **settings: Any,
) -> AsyncIterator[FrontServer]:
    """A front in this process; `settings` as ServerSettings has them, `beside`: services it serves as well."""
    artifacts = Config(store=store).open_artifacts()
    slots = WorkSlots(4)
    resources = Resources(artifacts, LocalCompute(1))
    placed = engine or InProcessEngine(SERVICE.engine_module, resources, slots)
    others = [(service, InProcessEngine(service.engine_module, resources, slots)) for service in beside]
    chosen = ServerSettings(**{"listen": "127.0.0.1:0", "drain_s": 0.0, "grace_s": 1.0, **settings})
    server = FrontServer([(SERVICE, placed), *others], artifacts, chosen, Metrics(registry or CollectorRegistry()))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        slots.close()


@contextmanager
def serving_in_thread(store: str, **settings: Any) -> Iterator[str]:
    """A front for synchronous clients, in a thread of its own; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    front = serving(store, **settings)
    try:
        server = asyncio.run_coroutine_threadsafe(front.__aenter__(), loop).result()
        try:
            yield server.address
        finally:
            asyncio.run_coroutine_threadsafe(front.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def method(
    channel: grpc.aio.Channel, name: str, request: Any = StringValue, reply: Any = StringValue
) -> Callable[..., Any]:
    return channel.unary_unary(f"/{FULL_NAME}/{name}", request.SerializeToString, reply.FromString)


class FrontProcess:
    """A front in a process of its own; `kill` is SIGKILL."""

    def __init__(self, store: str, environment: dict[str, str] | None = None, engine: str = "in-process") -> None:
        self._environment = {
            **os.environ,
            "ASSAY_STORE": store,
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            **(environment or {}),
        }
        self._engine = engine
        self.address = ""

    def start(self) -> str:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "probe.main", self._engine],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("the front did not start")
        return self.address

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.05)
