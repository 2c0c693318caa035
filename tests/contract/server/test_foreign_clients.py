"""Callers that nobody here wrote: grpcurl finds and calls every service over reflection, ghz holds the load.

The front is the real program with every installed service, in plaintext and under mutual TLS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from probe.authority import Authority

from assay.server.front import HELPERS
from assay.server.service import installed_services

REPOSITORY = Path(__file__).resolve().parents[3]
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
OPERATOR = "spiffe://assay.test/operator"
SERVICES = sorted({*HELPERS, *(service.full_name for service in installed_services().values())})
ARTIFACTS = "assay.artifacts.v1.ArtifactService"
# What a service must never say to a well-formed call, however little sense that makes.
OUR_FAULTS = {
    "UNKNOWN",
    "INTERNAL",
    "UNIMPLEMENTED",
    "DATA_LOSS",
    "UNAVAILABLE",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
}


@dataclass(frozen=True)
class Front:
    """A running front, and the flags that grpcurl and ghz need to reach it."""

    address: str
    grpcurl_flags: Sequence[str]
    ghz_flags: Sequence[str]


def start_front(environment: dict[str, str], health_address: str) -> subprocess.Popen[bytes]:
    front = subprocess.Popen(
        [sys.executable, "-m", "assay.server"], env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    with grpc.insecure_channel(health_address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                if stub.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True).status == 1:
                    return front
            except grpc.RpcError:
                pass
            if front.poll() is not None or time.monotonic() > deadline:
                front.kill()
                raise RuntimeError("the front did not start")
            time.sleep(0.1)


@pytest.fixture(scope="module", params=["plaintext", "mtls"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    from conftest import free_port

    folder = tmp_path_factory.mktemp(request.param)
    address, health_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    environment = {"ASSAY_STORE": (folder / "store").as_uri(), "ASSAY_LISTEN": address, "ASSAY_DRAIN_S": "0"}
    if request.param == "plaintext":
        running = start_front(environment, address)
        made = Front(address, ["-plaintext"], ["--insecure"])
    else:
        authority = Authority(folder)
        files = authority.server_files()
        certificate, key = authority.client_files(OPERATOR)
        allowed = folder / "allow.json"
        allowed.write_text(json.dumps({"*": [OPERATOR]}))
        tls = {
            "ASSAY_TRANSPORT": "mtls",
            "ASSAY_TLS_CERT": str(files.certificate),
            "ASSAY_TLS_KEY": str(files.key),
            "ASSAY_TLS_CLIENT_CA": str(files.client_authority),
            "ASSAY_HEALTH_LISTEN": health_address,
            "ASSAY_ALLOW_FILE": str(allowed),
        }
        running = start_front({**environment, **tls}, health_address)
        made = Front(
            address,
            ["-cacert", str(files.client_authority), "-cert", str(certificate), "-key", str(key)],
            ["--cacert", str(files.client_authority), "--cert", str(certificate), "--key", str(key)],
        )
    yield made
    running.terminate()
    running.wait(timeout=30)


@dataclass(frozen=True)
class Answer:
    """What grpcurl printed. code: of the status."""

    code: str
    text: str
    status: dict[str, Any]

    @property
    def messages(self) -> list[Any]:
        """The replies; grpcurl prints them one after the other."""
        found, rest = [], self.text.strip()
        while rest:
            message, end = json.JSONDecoder().raw_decode(rest)
            found.append(message)
            rest = rest[end:].strip()
        return found


@pytest.fixture(scope="module")
def grpcurl(front: Front, tool: Callable[[str], Path]) -> Callable[..., Answer]:
    """`grpcurl("list")`, or `grpcurl("package.Service/Method", [request, ...])`."""
    program = tool("grpcurl")

    def run(target: str, *more: str, requests: Sequence[dict[str, Any]] = (), seconds: float = 20) -> Answer:
        verb = target in ("list", "describe")
        flags = [*front.grpcurl_flags, "-max-time", str(seconds), "-format-error"]
        body = [] if verb else ["-d", "@"]
        done = subprocess.run(
            [program, *flags, *body, front.address, target, *more],
            input="\n".join(map(json.dumps, requests)),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode == 0:
            return Answer("OK", done.stdout, {})
        try:
            status = json.loads(done.stderr)
        except ValueError:
            return Answer("no connection", done.stdout, {"message": done.stderr})
        return Answer(CODES[status.get("code", 0)], done.stdout, status)

    return run


CODES = [code.name for code in grpc.StatusCode]  # by number


def test_grpcurl_lists_what_the_front_serves(grpcurl: Callable[..., Answer]) -> None:
    assert set(grpcurl("list").text.split()) == {*SERVICES, REFLECTION}


@pytest.mark.parametrize("service", SERVICES)
def test_grpcurl_describes_every_service_with_all_its_messages(grpcurl: Callable[..., Answer], service: str) -> None:
    told = grpcurl("describe", service).text
    assert f"service {service.rpartition('.')[2]} {{" in told
    known = descriptor_pool.Default().FindServiceByName(service)
    assert len(known.methods) > 0
    for method in known.methods:
        assert f"rpc {method.name} (" in told
        for message in (method.input_type, method.output_type):
            assert f"message {message.name} {{" in grpcurl("describe", message.full_name).text


@pytest.mark.parametrize("service", SERVICES)
def test_grpcurl_calls_every_method_and_is_told_what_it_left_out(grpcurl: Callable[..., Answer], service: str) -> None:
    """An empty request is well-formed and mostly senseless: it is answered or refused, and is nobody's accident."""
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        answer = grpcurl(f"{service}/{method.name}", requests=[{}], seconds=2)
        assert answer.code not in OUR_FAULTS, (method.name, answer)
        if answer.code == "INVALID_ARGUMENT":
            details = {detail["@type"].rpartition(".")[2]: detail for detail in answer.status["details"]}
            assert details["BadRequest"]["field_violations"][0]["field"], method.name
            assert details["ErrorInfo"]["domain"] == "assay"


def test_grpcurl_stores_an_artifact_and_reads_it_back(grpcurl: Callable[..., Answer]) -> None:
    data = os.urandom(100_000)
    sha256 = hashlib.sha256(data).hexdigest()
    parts = [data[start : start + 30_000] for start in range(0, len(data), 30_000)]
    upload = [
        {"declaration": {"sha256": sha256, "sizeBytes": len(data)}},
        *({"data": base64.b64encode(part).decode()} for part in parts),
    ]
    answer = grpcurl(f"{ARTIFACTS}/UploadBlob", requests=upload)
    assert answer.code == "ABORTED"
    assert grpcurl(f"{ARTIFACTS}/UploadBlob", requests=[*upload, {"commit": {}}]).messages == [{"created": True}]
    files = [{"path": "a/b.bin", "sizeBytes": len(data), "sha256": sha256}]
    manifest = {"kind": "text", "files": files, "parameters": {"seed": 3}}
    created = grpcurl(f"{ARTIFACTS}/CreateArtifact", requests=[{"manifest": manifest}]).messages[0]
    digest = created["artifact"]["digest"]
    read = grpcurl(f"{ARTIFACTS}/ReadFile", requests=[{"reference": digest, "path": "a/b.bin"}]).messages
    assert b"".join(base64.b64decode(message["data"]) for message in read) == data
    listed = grpcurl(f"{ARTIFACTS}/ListArtifacts", requests=[{}]).messages[0]
    assert digest in {artifact["digest"] for artifact in listed["artifacts"]}


def test_grpcurl_reads_a_failure_with_its_field_and_next_step(grpcurl: Callable[..., Answer]) -> None:
    answer = grpcurl("google.longrunning.Operations/ListOperations", requests=[{"filter": "state=done"}])
    assert answer.code == "INVALID_ARGUMENT"
    assert "write done, open, or leave it out" in answer.status["message"]
    answer = grpcurl("google.longrunning.Operations/GetOperation", requests=[{"name": f"operations/{'0' * 32}"}])
    assert answer.code == "NOT_FOUND"


def test_grpcurl_reads_health(grpcurl: Callable[..., Answer]) -> None:
    names = ["", "live", *(service.full_name for service in installed_services().values())]
    for name in names:
        answer = grpcurl("grpc.health.v1.Health/Check", requests=[{"service": name}])
        assert answer.messages == [{"status": "SERVING"}]
    assert grpcurl("grpc.health.v1.Health/Check", requests=[{"service": "nobody"}]).code == "NOT_FOUND"


def test_grpcurl_without_a_certificate_gets_nowhere_under_mutual_tls(front: Front, tool: Callable[[str], Path]) -> None:
    if "-plaintext" in front.grpcurl_flags:
        pytest.skip("everyone may connect in plaintext")
    authority = front.grpcurl_flags[:2]
    for flags in (["-plaintext"], authority, ["-insecure"]):
        done = subprocess.run(
            [tool("grpcurl"), *flags, "-connect-timeout", "2", "-max-time", "5", front.address, "list"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode != 0
        assert "assay" not in done.stdout


def test_ghz_makes_5000_calls_at_64_in_flight_without_an_error(
    front: Front, tool: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    done = subprocess.run(
        [
            tool("ghz"), *front.ghz_flags,
            "--proto", REPOSITORY / "protos/assay/artifacts/v1/artifacts.proto",
            "--call", f"{ARTIFACTS}/FindBlobs", "-d", json.dumps({"sha256": ["0" * 64]}),
            "-n", "5000", "-c", "64", "--timeout", "60s", "-O", "json", front.address,
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["count"] == 5000
    assert report["statusCodeDistribution"] == {"OK": 5000}
    assert not report.get("errorDistribution")
    record_property("calls_per_s", report["rps"])
    p50_ms = next(each["latency"] for each in report["latencyDistribution"] if each["percentage"] == 50) / 1e6
    print(f"ghz: {report['rps']:.0f} calls/s, p50 {p50_ms:.1f} ms")
