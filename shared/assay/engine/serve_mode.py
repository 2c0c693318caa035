"""How Ray Serve's proxy carries calls: the environment that a whole cluster needs before it starts.

Serve reads these variables once in every process (controller, proxies, replicas), so a deployment sets them on
its nodes. Which mode is chosen and why, with figures: docs/adr/0001-ray-serve-mode.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from assay.engine.serve_wire import WIRE_BYTES

# Steps run in threads of their own anyway; a second event loop for the code that starts them costs a hop a
# message and puts an unbounded queue between a step and a slow reader.
ONE_LOOP = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}

MODES: Mapping[str, Mapping[str, str]] = {
    # A Python proxy that reaches replicas by actor calls: what Serve does unless told otherwise.
    "default": {},
    # The same proxy, reaching replicas by gRPC.
    "grpc": {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(WIRE_BYTES),
    },
    # HAProxy in front of the replicas' own gRPC ports.
    "haproxy": {
        **ONE_LOOP,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # A reloaded HAProxy drops what is still open after this long; the reload comes with every new set of
        # replicas, and a step must outlive it. Serve's own default is 120.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",
        "RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS": "1000",
        "RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS": "1000",
    },
}

# The haproxy program comes with ray[serve] on Linux alone.
CHOSEN = "haproxy" if sys.platform == "linux" else "default"


def own_haproxy(folder: Path, ports: tuple[int, int, int, int]) -> dict[str, str]:
    """What lets several clusters of one machine run HAProxy: files in `folder`, four ports of their own."""
    stats, metrics, fallback_http, fallback_grpc = ports
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        # Long enough for HAProxy to notice; Serve's default of 30 makes every redeploy on a laptop slow.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
    }


def own_replica_ports(first: int, count: int) -> dict[str, str]:
    """Ports for the replicas of one cluster. Two clusters of a machine must not share any.

    Serve means to bind a replica's port alone, but hands gRPC the setting in a form it ignores, so the replicas
    of two clusters that count from the same number would answer each other's calls.
    """
    half = count // 2
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + half - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first + half),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + count - 1),
    }
