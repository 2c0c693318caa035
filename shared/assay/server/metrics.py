"""Prometheus metrics under the names the gRPC community uses."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

LABELS = ("grpc_type", "grpc_service", "grpc_method")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._started = Counter("grpc_server_started", "Calls begun.", LABELS, registry=registry)
        self._handled = Counter("grpc_server_handled", "Calls ended.", (*LABELS, "grpc_code"), registry=registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "Time to answer.", LABELS, buckets=SECONDS, registry=registry
        )
        self._in_flight = Gauge("grpc_server_in_flight", "Calls being answered.", LABELS, registry=registry)
        self.healthy = Gauge(
            "assay_dependencies_up", "1 while store and engine answer.", ("service",), registry=registry
        )

    def of_method(self, kind: str, service: str, method: str) -> MethodMetrics:
        labels = (kind, service, method)
        return MethodMetrics(
            self._started.labels(*labels),
            self._seconds.labels(*labels),
            self._in_flight.labels(*labels),
            lambda code: self._handled.labels(*labels, code),
        )


class MethodMetrics:
    """One method's counters, looked up once: label lookup costs more than counting."""

    def __init__(self, started: Any, seconds: Any, in_flight: Any, handled_as: Any) -> None:
        self._started, self._seconds, self._in_flight = started, seconds, in_flight
        self._handled: dict[str, Any] = {}
        self._handled_as = handled_as

    def begin(self) -> float:
        self._started.inc()
        self._in_flight.inc()
        return time.perf_counter()

    def end(self, begun: float, code: str) -> float:
        seconds = time.perf_counter() - begun
        if code not in self._handled:
            self._handled[code] = self._handled_as(code)
        self._handled[code].inc()
        self._seconds.observe(seconds)
        self._in_flight.dec()
        return seconds
