"""A real API server on loopback, without root, containers or a node: etcd and kube-apiserver of one binary."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from conftest import free_port
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from assay.platform.api import Cluster

ADMIN, NOBODY = "admin", "nobody"
GROUPS = {ADMIN: "system:masters", NOBODY: "people"}


class ApiServer:
    """etcd and kube-apiserver below `home`; tokens of two users, of whom one may do everything, the other nothing."""

    def __init__(self, program: Path, home: Path) -> None:
        self.program = program
        self.home = home
        self.port = free_port()
        self._parts: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        etcd = f"http://127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        self.run_part("etcd", ["--data-dir", str(self.home / "etcd"), "--unsafe-no-fsync", "--log-level", "error",
                               "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                               "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                               "--initial-cluster", f"default={peer}"])  # fmt: skip
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.home / "sa.key").write_bytes(pem)
        tokens = [f'token-of-{user},{user},{user},"{group}"' for user, group in GROUPS.items()]
        (self.home / "tokens.csv").write_text("\n".join(tokens) + "\n")
        self.run_part("kube-apiserver", [
            "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
            "--secure-port", str(self.port), "--cert-dir", str(self.home / "pki"),
            "--service-cluster-ip-range", "10.96.0.0/16", "--endpoint-reconciler-type", "none",
            "--token-auth-file", str(self.home / "tokens.csv"), "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", str(self.home / "sa.key"),
            "--service-account-signing-key-file", str(self.home / "sa.key"),
            # Without controllers nobody makes the accounts that one wants, or takes away the taint that the other sets.
            "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
        ])  # fmt: skip
        self._wait()

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """The file with which `user` talks to this server."""
        file = self.home / f"{user}.kubeconfig"
        if not file.exists():
            cluster = {
                "server": f"https://127.0.0.1:{self.port}",
                "certificate-authority": str(self.home / "pki/apiserver.crt"),
            }
            document = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": f"token-of-{user}"}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
                "current-context": "test",
            }
            file.write_text(yaml.safe_dump(document))
        return file

    def cluster(self, user: str = ADMIN) -> Cluster:
        return Cluster.connect(self.kubeconfig(user))

    def _quiet(self) -> Cluster:
        return Cluster(self.cluster().client, tell=lambda line: None)

    def run_part(self, name: str, arguments: Sequence[str], program: Path | None = None) -> None:
        """Starts a further part beside the server; ended with it. program: kubelite where none is given."""
        command = [str(program)] if program else [str(self.program), name]
        with (self.home / f"{name}.log").open("wb") as log:
            self._parts.append(subprocess.Popen([*command, *arguments], stdout=log, stderr=log, cwd=self.home))

    def stop(self) -> None:
        for part in reversed(self._parts):
            part.kill()
            part.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            died = [part for part in self._parts if part.poll() is not None]
            if died or time.monotonic() > deadline:
                logs = "\n".join(file.read_text()[-1500:] for file in self.home.glob("*.log"))
                self.stop()
                raise RuntimeError(f"the API server did not start: {logs}")
            try:
                if (self.home / "pki/apiserver.crt").exists() and self._quiet().raw("GET", "/readyz") == b"ok":
                    return
            except Exception:  # not there yet, in one of many ways
                pass
            time.sleep(0.1)


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    """Creates the objects, or makes them as they are given; their status too."""
    for found in objects:
        cluster.apply(found, manager="test")
        if "status" in found:
            meta = found["metadata"]
            path = cluster.path_of(found["apiVersion"], found["kind"], meta.get("namespace"), meta["name"])
            cluster.patch(f"{path}/status", {"status": found["status"]})
