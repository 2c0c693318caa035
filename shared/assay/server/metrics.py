"""Prometheus metrics under the names the gRPC community uses.

Calls are counted in plain numbers, by the one thread that answers them; Prometheus' own objects, each with its
lock, are made of them only when someone asks.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

LABELS = ("grpc_type", "grpc_service", "grpc_method")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics(Collector):
    """The counters of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._methods: dict[tuple[str, str, str], MethodMetrics] = {}
        registry.register(self)
        self.healthy = Gauge(
            "assay_dependencies_up", "1 while store and engine answer.", ("service",), registry=registry
        )

    def of_method(self, kind: str, service: str, method: str) -> MethodMetrics:
        return self._methods.setdefault((kind, service, method), MethodMetrics())

    def describe(self) -> Iterator[Metric]:
        return self._families({})

    def collect(self) -> Iterator[Metric]:
        return self._families(dict(self._methods))

    @staticmethod
    def _families(methods: dict[tuple[str, str, str], MethodMetrics]) -> Iterator[Metric]:
        started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=LABELS)
        handled = CounterMetricFamily("grpc_server_handled", "Calls ended.", labels=(*LABELS, "grpc_code"))
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Time to answer.", labels=LABELS)
        in_flight = GaugeMetricFamily("grpc_server_in_flight", "Calls being answered.", labels=LABELS)
        for labels, counts in methods.items():
            started.add_metric(labels, counts.started)
            in_flight.add_metric(labels, counts.in_flight)
            seconds.add_metric(labels, counts.cumulative_buckets(), counts.seconds)
            for code, calls in list(counts.handled.items()):
                handled.add_metric((*labels, code), calls)
        yield from (started, handled, seconds, in_flight)


class MethodMetrics:
    """One method's numbers. `handled`: calls by code. `seconds`: of all calls together."""

    def __init__(self) -> None:
        self.started = 0
        self.in_flight = 0
        self.seconds = 0.0
        self.handled: defaultdict[str, int] = defaultdict(int)
        self._buckets = [0] * (len(SECONDS) + 1)

    def begin(self) -> float:
        self.started += 1
        self.in_flight += 1
        return time.perf_counter()

    def end(self, begun: float, code: str) -> float:
        """Seconds since `begun`."""
        seconds = time.perf_counter() - begun
        self.in_flight -= 1
        self.handled[code] += 1
        self.seconds += seconds
        self._buckets[bisect_left(SECONDS, seconds)] += 1
        return seconds

    def cumulative_buckets(self) -> list[tuple[str, float]]:
        """Calls that took at most each bound, as Prometheus wants them."""
        total, found = 0, []
        for bound, calls in zip((*map(str, SECONDS), "+Inf"), self._buckets, strict=True):
            total += calls
            found.append((bound, float(total)))
        return found
