"""A kubelet as far as the API server asks one: logs of containers, and ports of pods, which are loopback's here."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("v4.channel.k8s.io")


class Kubelet:
    """logs: text by container's name, `NAME.previous` for the run before. ports: what listens here, by pod and port."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.logs: dict[str, str] = {}
        self.ports: dict[tuple[str, int], int] = {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = serve(
            self._forward, "127.0.0.1", 0, ssl=context, subprotocols=[PROTOCOL],
            process_request=self._answer, compression=None, max_size=None,
        )  # fmt: skip
        self.port = int(self.server.socket.getsockname()[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def status(self) -> dict[str, Any]:
        """What a node's status says of where its kubelet is."""
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        return {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}}}

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        matched = re.match(r"/containerLogs/[^/]+/[^/]+/([^/?]+)", request.path)
        if matched is None:
            return None
        name = matched[1] + (".previous" if "previous=true" in request.path else "")
        text = self.logs.get(name)
        status = HTTPStatus.OK if text is not None else HTTPStatus.NOT_FOUND
        data = (text or "no such log").encode()
        headers = Headers({"Content-Type": "text/plain", "Content-Length": str(len(data)), "Connection": "close"})
        return Response(status.value, status.phrase, headers, data)

    def _forward(self, connection: ServerConnection) -> None:
        """Channel 0 carries data, channel 1 errors; each begins with the port's number."""
        assert connection.request is not None
        matched = re.match(r"/portForward/[^/]+/([^/?]+).*ports?=(\d+)", connection.request.path)
        assert matched is not None
        pod, port = matched[1], int(matched[2])
        for channel in (0, 1):
            connection.send(bytes([channel]) + struct.pack("<H", port))
        with socket.create_connection(("127.0.0.1", self.ports[pod, port])) as far:
            threading.Thread(target=self._back, args=(far, connection), daemon=True).start()
            with suppress(ConnectionClosed, OSError):
                for message in connection:
                    assert isinstance(message, bytes)
                    far.sendall(message[1:])

    @staticmethod
    def _back(far: socket.socket, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed, OSError):
            while data := far.recv(64 * 2**10):
                connection.send(b"\x00" + data)
        connection.close()

    def stop(self) -> None:
        self.server.shutdown()
