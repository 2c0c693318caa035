"""Mutual TLS whose files may be renewed while the server runs: short-lived certificates need no restart."""

from __future__ import annotations

import logging

import grpc

from assay.errors import FailedPrecondition
from assay.server.settings import TlsFiles

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int], ...]


def mutual_tls(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that ask every caller for a certificate. FailedPrecondition where a file cannot be read."""
    renewal = _Renewal(files)
    return grpc.dynamic_ssl_server_credentials(renewal.current(), renewal.renewed, require_client_authentication=True)


class _Renewal:
    """Reads the files again once one of them has changed; gRPC asks before every handshake."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp: Stamp = ()

    def current(self) -> grpc.ServerCertificateConfiguration:
        try:
            self._stamp = self._look()
            pair = (self._files.key.read_bytes(), self._files.certificate.read_bytes())
            authority = self._files.client_authority.read_bytes()
        except OSError as error:
            raise FailedPrecondition(f"TLS file {error.filename} cannot be read; check path and permissions") from error
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """None where nothing changed, or cannot be read just now: the old one stays."""
        try:
            if self._look() == self._stamp:
                return None
            renewed = self.current()
        except (OSError, FailedPrecondition) as error:
            log.warning("TLS files: %s", error)
            return None
        log.info("TLS files were renewed")
        return renewed

    def _look(self) -> Stamp:
        states = [path.stat() for path in (self._files.key, self._files.certificate, self._files.client_authority)]
        return tuple((state.st_mtime_ns, state.st_ino) for state in states)
