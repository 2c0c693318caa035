"""A port of a pod on this machine, through the API server: no `kubectl`, no way of its own into the cluster."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from assay.errors import Unavailable
from assay.platform.api import Cluster

CHUNK = 64 * 2**10


@contextmanager
def forward(cluster: Cluster, namespace: str, pod: str, port: int) -> Iterator[str]:
    """HOST:PORT on loopback that leads to the pod's port; each connection is a stream of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []
        # The first stream is opened here, so that a refusal is said and not only felt.
        first = [_open(cluster, namespace, pod, port)]

        def serve() -> None:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return  # closed: whoever wanted it has left
                try:
                    far = first.pop() if first else _open(cluster, namespace, pod, port)
                except Unavailable:
                    near.close()
                    continue
                opened.extend((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for each in (*opened, *first):
                _close(each)


def _open(cluster: Cluster, namespace: str, pod: str, port: int) -> Any:
    """A socket to the pod's port."""
    from kubernetes.client import ApiException
    from kubernetes.stream.ws_client import portforward_call

    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward?ports={port}"
    _, url, headers, _, _ = cluster.client.param_serialize("GET", path, auth_settings=["BearerToken"])
    lowered = {name.lower(): value for name, value in headers.items()}
    lowered["sec-websocket-protocol"] = "v4.channel.k8s.io"
    try:
        stream = portforward_call(cluster.client.configuration, "GET", url, headers=lowered)
    except ApiException as error:
        raise Unavailable(f"no port is forwarded to pod {pod}: {error.reason}") from error
    return stream.socket(port)


def _pump(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    _close(source)
    _close(sink)


def _close(each: Any) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        each.close()
