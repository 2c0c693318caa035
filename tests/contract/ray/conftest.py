"""One real local Ray, with a real Serve and two engines, for every test of this folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from assay.engine.local_ray import EngineSpec, LocalRay
from assay.engine.on_serve import ServeEngine
from assay.engine.serve_mode import CHOSEN

ENGINES = (EngineSpec("probe", "probe.engine", drain_s=20), EngineSpec("other", "probe.engine", drain_s=20))


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A trace collector that keeps span names by trace id."""

    spans: dict[str, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def Export(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        with self.lock:
            for resource in request.resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans.setdefault(span.trace_id.hex(), set()).add(f"{names['service.name']}: {span.name}")
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace_id: str) -> set[str]:
        with self.lock:
            return set(self.spans.get(trace_id, ()))


@dataclass
class RunningRay:
    """cluster: may be killed by a test that starts it again. store: the URL its engines were given."""

    cluster: LocalRay
    store: str
    traces: Collector
    mode: str

    def engine(self, application: str = "probe") -> ServeEngine:
        """A front's client of an engine; close it, or hand it to a front."""
        return ServeEngine(self.cluster.address, application, token=self.cluster.token)


@pytest.fixture(scope="session")
def _session_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRay]:
    pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    store = f"file://{tmp_path_factory.mktemp('ray-store')}"
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    mode = os.environ.get("ASSAY_TEST_SERVE_MODE", CHOSEN)  # to try the same contract on another
    cluster = LocalRay(ENGINES, store, mode=mode, cpus=2, environment=environment)
    try:
        cluster.start()
        yield RunningRay(cluster, store, collector, mode)
    finally:
        cluster.stop()
        server.stop(None)


@pytest.fixture
def ray_cluster(_session_ray: RunningRay) -> RunningRay:
    """The Ray of the session, up."""
    if not _session_ray.cluster.processes():  # a test that killed it failed before it started it again
        _session_ray.cluster.start()
    return _session_ray


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store of the test's own front, which so takes up nothing that another test left."""
    return f"file://{tmp_path}/store"
