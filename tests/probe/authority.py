"""A certificate authority of the tests' own, for servers and callers under mutual TLS."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay.server.settings import TlsFiles


class Authority:
    """Signs certificates whose files lie in `folder`: authority.pem, server.pem, server.key."""

    def __init__(self, folder: Path, name: str = "assay test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        (folder / "authority.pem").write_bytes(self.pem)

    def certificate(
        self, uris: Sequence[str], *, server: bool = False, hosts: Sequence[str] = ()
    ) -> tuple[bytes, bytes]:
        """Key and certificate in PEM for a holder with these URI names (and localhost, for a server).

        hosts: names that a holder serves under who also calls others.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        if server:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names += [x509.DNSName(host) for host in hosts]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH if server or hosts else ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "holder")]), key).add_extension(
            x509.ExtendedKeyUsage(usages), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return (
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            signed.public_bytes(serialization.Encoding.PEM),
        )

    def server_files(self, name: str = "server") -> TlsFiles:
        """What a server that trusts this authority's callers is set up with."""
        key, certificate = self.certificate([], server=True)
        files = TlsFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key", self._folder / "authority.pem")
        files.key.write_bytes(key)
        files.certificate.write_bytes(certificate)
        return files

    def client_files(self, *uris: str, name: str = "client") -> tuple[Path, Path]:
        """Certificate and key as files, for programs such as grpcurl."""
        key, certificate = self.certificate(uris)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate)
        paths[1].write_bytes(key)
        return paths

    def channel_credentials(self, *uris: str) -> grpc.ChannelCredentials:
        """Of a caller with these URI names that trusts servers of this authority."""
        return grpc.ssl_channel_credentials(self.pem, *self.certificate(uris))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
