"""transport: mtls with certificates of the test's own, asked by a client nobody here wrote."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import find_tool
from probe.authority import Authority

from cluster.kubernetes import Kubernetes
from cluster.release import Release


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(
    kubernetes: Kubernetes, loaded: None, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """One front that computes by itself, so that nothing but the transport is tried."""
    made = Release(
        kubernetes, "locked", "assay-mtls", "transport=mtls", "mtls.existingSecret=certificates",
        "services.moe_router.enabled=false", "services.tom_verifier.engine.placement=in-process",
    )  # fmt: skip
    front = made.front("tom_verifier")
    key, certificate = authority.certificate(
        [f"spiffe://cluster.local/ns/{made.namespace}/sa/{front}"],
        hosts=[front, made.address("tom_verifier").partition(":")[0]],
    )
    folder = tmp_path_factory.mktemp("secret")
    for name, content in {"tls.key": key, "tls.crt": certificate, "ca.crt": authority.pem}.items():
        (folder / name).write_bytes(content)
    try:
        kubernetes.kubectl("create", "namespace", made.namespace)
        kubernetes.kubectl("create", "secret", "generic", "certificates", "-n", made.namespace, f"--from-file={folder}")
        made.install("--wait")
        yield made
    finally:
        made.uninstall()


def asked(release: Release, *options: str | Path) -> subprocess.CompletedProcess[str]:
    story = '{"story": "Ann entered the kitchen."}'
    method = "assay.tom_verifier.v1.TomVerifierService/ParseStory"
    address = release.address("tom_verifier")
    command = (find_tool("grpcurl"), "-max-time", "20", *options, "-d", story, address, method)
    return release.kubernetes.run(*command, check=False)


def test_a_caller_with_a_certificate_is_answered(secured: Release, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, key = authority.client_files("spiffe://example.org/alice", name="alice")
    done = asked(secured, "-cacert", tmp_path / "ca.pem", "-cert", certificate, "-key", key)
    assert '"agents"' in done.stdout, done.stdout + done.stderr


def test_callers_without_one_or_with_a_strangers_are_turned_away(
    secured: Release, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    stranger = Authority(tmp_path, "a stranger's authority")
    certificate, key = stranger.client_files("spiffe://example.org/alice", name="mallory")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    for options in (
        ("-plaintext",),
        ("-cacert", tmp_path / "ca.pem"),
        ("-cacert", tmp_path / "ca.pem", "-cert", certificate, "-key", key),
    ):
        done = asked(secured, *options)
        assert done.returncode != 0, options
        assert "Ann" not in done.stdout


def test_health_is_asked_without_one_by_the_kubelet_alone(secured: Release) -> None:
    """The pod is ready, so its plaintext port answers probes; the Service does not lead there."""
    (front,) = secured.pods("tom_verifier")
    (container,) = front["spec"]["containers"]
    assert container["readinessProbe"]["grpc"]["port"] == 50052
    service = secured.kubernetes.get("service", secured.namespace, secured.front("tom_verifier"))
    assert sorted(port["port"] for port in service["spec"]["ports"]) == [9464, 50051]


def test_helms_own_test_calls_with_the_fronts_certificate(secured: Release) -> None:
    assert secured.helm("test").stdout.count("Succeeded") == 1
