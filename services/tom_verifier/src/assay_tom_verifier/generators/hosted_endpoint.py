"""Where a hosted model is called: the deployment's choice, from its environment."""

from __future__ import annotations

import http.client
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from assay.errors import FailedPrecondition, InvalidInput

URL, KEY = "ASSAY_GENERATOR_URL", "ASSAY_GENERATOR_KEY"
CONNECT_S, ANSWER_S = 10.0, 600.0


@dataclass(frozen=True)
class HostedEndpoint:
    """secure: TLS. path: below which the protocol lies, such as "/v1". key: empty for none."""

    secure: bool
    host: str
    port: int | None
    path: str
    key: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HostedEndpoint:
        """ASSAY_GENERATOR_URL, such as https://host/v1, and ASSAY_GENERATOR_KEY.

        FailedPrecondition where there is no URL, InvalidInput naming the variable that cannot be used.
        """
        url, key = environment.get(URL, ""), environment.get(KEY, "").strip()
        if not url:
            raise FailedPrecondition(
                f"generator.hosted: no endpoint is set up; set {URL} (https://host/v1), and {KEY} where it asks for a "
                "key, where this service runs",
                reason="NO_HOSTED_GENERATOR",
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise InvalidInput(URL, "is no http or https URL; write e.g. https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InvalidInput(URL, f"holds more than host, port and path; a key belongs into {KEY}")
        if not re.fullmatch(r"[!-~]*", key):
            raise InvalidInput(KEY, "holds characters that no key has; write it in one line of ASCII")
        return cls(parts.scheme == "https", host, port, parts.path.rstrip("/"), key)

    def connect(self) -> http.client.HTTPConnection:
        """Connected, its answers waited for up to ANSWER_S. Raises OSError."""
        if self.secure:
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, self.port, timeout=CONNECT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_S)
        connection.connect()
        connection.sock.settimeout(ANSWER_S)
        return connection
