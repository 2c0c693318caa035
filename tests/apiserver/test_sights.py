"""What a release is doing, a call to each of its services, and all of it in a file: pods are played, the rest is real.

Logs and ports of pods come by way of the real API server from a played kubelet; what listens there are real fronts.
"""

from __future__ import annotations

import base64
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from probe.authority import Authority
from probe.operations import start
from probe.service import FULL_NAME
from probe.service_process import ServiceProcess
from probe.serving import serving_in_thread

from apiserver.kubelet import Kubelet
from apiserver.scene import GPU, Scene, namespace, node
from apiserver.server import ApiServer
from assay.errors import AlreadyExists, FailedPrecondition, NotFound
from assay.platform.bundle import bundle
from assay.platform.helm import Helm
from assay.platform.ownership import LABEL
from assay.platform.smoke import smoke
from assay.platform.status import status
from assay.platform.trouble import troubles
from assay.server.settings import TlsFiles

PORT = 50051
SERVICES = ("moe_router", "probe")


@pytest.fixture(scope="module")
def kubelet(api_server: ApiServer) -> Iterator[Kubelet]:
    """Of the node `played`."""
    played = Kubelet(api_server.home / "pki/apiserver.crt", api_server.home / "pki/apiserver.key")
    scene_node = node("played", gpus=8, product="NVIDIA-PLAYED")
    scene_node["status"] |= played.status()
    cluster = api_server.cluster()
    cluster.apply(scene_node, manager="test")
    cluster.patch("/api/v1/nodes/played/status", {"status": scene_node["status"]})
    yield played
    cluster.delete("/api/v1/nodes/played")
    played.stop()


@pytest.fixture
def running(scene: Scene, kubelet: Kubelet) -> Scene:
    """A release of two services, installed by Helm, with a pod of each front and one of an engine."""
    scene.sets += [
        f"services.probe.grpcService={FULL_NAME}",
        "defaults.front.replicas=2",
        "defaults.engine.resources.gpus=4",
    ]
    scene.sets[3] = scene.sets[3].replace(GPU, "NVIDIA-PLAYED")
    install(scene)
    for name in SERVICES:
        scene.put(pod(scene, f"{name.replace('_', '-')}-1", name, "front"))
    scene.put(pod(scene, "engine-1", "moe_router", "engine", gpus=4))
    return scene


def install(scene: Scene, *sets: str) -> None:
    """By Helm, without waiting."""
    scene.put(namespace(scene.target.namespace, **{LABEL: scene.target.release}))
    plan = scene.plan(*sets)
    Helm(plan.target).install(plan.chart, plan.values, timeout_s=30)


def pod(scene: Scene, name: str, service: str, component: str, *, gpus: int = 0, **status: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": scene.target.release, "app.kubernetes.io/component": component}
    container = {
        "name": component,
        "image": "any:1",
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
    }
    states = [
        {"name": component, "image": "any:1", "imageID": "", "ready": True, "restartCount": 3, "state": {"running": {}}}
    ]
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": states}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": scene.target.namespace,
            "labels": labels | {"assay/service": service.replace("_", "-")},
        },
        "spec": {"nodeName": "played", "containers": [container]},
        "status": status or ready,
    }


def report(scene: Scene, version: str, plural: str, name: str, **status: Any) -> None:
    """As a controller reports on an object of the release."""
    path = f"/apis/{version}/namespaces/{scene.target.namespace}/{plural}/{name}/status"
    scene.cluster.patch(path, {"status": status})


def test_one_table_of_fronts_applications_gpus_and_operations(running: Scene, kubelet: Kubelet, tmp_path: Path):
    report(running, "apps/v1", "deployments", "trial-assay-probe", replicas=2, readyReplicas=1, availableReplicas=1)
    deployments = {"engine": {"status": "HEALTHY"}, "router": {"status": "UPDATING"}}
    application = {"status": "RUNNING", "serveDeploymentStatuses": deployments}
    report(
        running, "ray.io/v1", "rayservices", "trial-assay-moe-router-engine",
        activeServiceStatus={"applicationStatuses": {"moe_router": application}},
    )  # fmt: skip
    with serving_in_thread(f"file://{tmp_path}/store") as address, grpc.insecure_channel(address) as channel:
        start(channel, "Spin", str(tmp_path / "ticks"))
        kubelet.ports["probe-1", PORT] = int(address.rpartition(":")[2])
        kubelet.ports.pop(("moe-router-1", PORT), None)
        rows, notes = status(running.cluster, running.target)
    assert notes == []
    found = {row.part: row for row in rows}
    probe = found["trial-assay-probe"]
    assert (probe.ready, probe.wanted, probe.restarts, probe.operations) == (1, 2, 3, 1)
    assert probe.image == "assay-probe-front:0.1.0"
    # Nothing listens behind the other front's port: said, and not a 0.
    assert (found["trial-assay-moe-router"].operations, found["trial-assay-moe-router"].why != "") == (None, True)
    engine = found["trial-assay-moe-router-engine: moe_router"]
    assert (engine.state, engine.ready, engine.wanted) == ("RUNNING", 1, 2)
    assert "no word from KubeRay" in found["trial-assay-probe-engine"].state
    gpus = found["GPUs of gpu"]
    assert (gpus.ready, gpus.wanted) == (4, 8)


def test_a_real_call_to_every_service(running: Scene, kubelet: Kubelet, tmp_path: Path):
    front = ServiceProcess("moe_router", f"file://{tmp_path}/store")
    try:
        with serving_in_thread(f"file://{tmp_path}/store") as address:
            kubelet.ports["moe-router-1", PORT] = int(front.address.rpartition(":")[2])
            kubelet.ports["probe-1", PORT] = int(address.rpartition(":")[2])
            answers = {each.service: each for each in smoke(running.cluster, running.target, timeout_s=20)}
        assert {name: each.ok for name, each in answers.items()} == {"moe_router": True, "probe": True}
        assert answers["moe_router"].said == "health SERVING, DescribeModel answered INVALID_ARGUMENT"
        assert "port forwarded" in answers["moe_router"].how
        # One address that has only one of them.
        answers = {
            each.service: each for each in smoke(running.cluster, running.target, address=front.address, timeout_s=2)
        }
        assert (answers["moe_router"].ok, answers["probe"].ok) == (True, False)
    finally:
        front.stop()
    answers = {each.service: each for each in smoke(running.cluster, running.target, timeout_s=1)}
    assert not answers["moe_router"].ok


def test_under_mutual_tls_only_who_has_a_certificate_is_answered(
    scene: Scene, kubelet: Kubelet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scene.make_secret("tls", **{"tls.crt": "certificate", "tls.key": "key", "ca.crt": "authority"})
    alone = ("services.moe_router.enabled=false", f"services.probe.grpcService={FULL_NAME}")
    install(scene, *alone, "transport=mtls", "mtls.existingSecret=tls")
    scene.put(pod(scene, "secure-1", "probe", "front"))
    authority = Authority(tmp_path)
    key, certificate = authority.certificate([], hosts=["trial-assay-probe"])
    files = TlsFiles(tmp_path / "front.pem", tmp_path / "front.key", tmp_path / "authority.pem")
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)
    secured = {"transport": "mtls", "tls": files, "health_listen": "127.0.0.1:0"}
    with serving_in_thread(f"file://{tmp_path}/store", **secured) as address:
        kubelet.ports["secure-1", PORT] = int(address.rpartition(":")[2])
        (without,) = smoke(scene.cluster, scene.target, timeout_s=5)
        assert not without.ok
        assert "ASSAY_TLS_CA, ASSAY_TLS_CLIENT_CERT and ASSAY_TLS_CLIENT_KEY" in without.said
        certificate_file, key_file = authority.client_files("spiffe://example.org/operator")
        monkeypatch.setenv("ASSAY_TLS_CA", str(tmp_path / "authority.pem"))
        monkeypatch.setenv("ASSAY_TLS_CLIENT_CERT", str(certificate_file))
        monkeypatch.setenv("ASSAY_TLS_CLIENT_KEY", str(key_file))
        (answer,) = smoke(scene.cluster, scene.target, timeout_s=20)
        rows, _ = status(scene.cluster, scene.target)
    assert (answer.ok, answer.said) == (True, "health SERVING")
    assert [row.operations for row in rows if row.what == "front"] == [0]


def test_by_the_gateway_that_the_routes_hang_on(scene: Scene, tmp_path: Path):
    front = ServiceProcess("moe_router", f"file://{tmp_path}/store")
    host, port = front.address.split(":")
    public = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": scene.target.namespace},
        "spec": {"listeners": [{"name": "grpc", "port": int(port), "protocol": "HTTP"}]},
    }
    with scene.defined("gateway.networking.k8s.io", Gateway="Namespaced", GRPCRoute="Namespaced"):
        install(scene, "gateway.enabled=true", "gateway.parent.name=public", "gateway.hostnames[0]=assay.example.org")
        scene.cluster.apply(public, manager="test")
        (nowhere,) = smoke(scene.cluster, scene.target, timeout_s=0)
        scene.cluster.apply(public | {"status": {"addresses": [{"value": host}]}}, manager="test")
        (answer,) = smoke(scene.cluster, scene.target, timeout_s=20)
    front.stop()
    assert "has no address yet" in nowhere.said
    assert (answer.ok, answer.how) == (True, f"Gateway public at {front.address}")


def test_without_a_release_there_is_nothing_to_see(scene: Scene):
    for look in (status, smoke):
        with pytest.raises(NotFound, match="there is no release trial"):
            look(scene.cluster, scene.target)


def test_what_others_have_in_a_namespace_is_not_bundled(scene: Scene, tmp_path: Path):
    meta = {"name": "theirs", "namespace": scene.target.namespace}
    scene.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"private": "indeed"}})
    file = tmp_path / "bundle.tar.gz"
    with pytest.raises(FailedPrecondition, match="carries no release's label"):
        bundle(scene.cluster, scene.target, file)
    assert not file.exists()


NO_SECRET = {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
ENDED = {"terminated": {"exitCode": 3, "reason": "Error"}}
WAITING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "slow": ({"waiting": {"reason": "ContainerCreating"}}, {}, "ContainerCreating"),
    "image": ({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}, {}, "ImagePullBackOff"),
    "config": ({"waiting": NO_SECRET}, {}, "CreateContainerConfigError"),
    "crash": ({"waiting": {"reason": "CrashLoopBackOff"}}, ENDED, "CrashLoopBackOff"),
    "memory": ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, {}, "Error"),
}


def test_why_pods_do_not_get_ready(running: Scene, kubelet: Kubelet):
    for name, (state, last, _) in WAITING.items():
        container = {"name": name, "image": "any:1", "imageID": "", "ready": False, "restartCount": 7,
                     "state": state, "lastState": last}  # fmt: skip
        found = pod(running, f"bad-{name}", "moe_router", "front", phase="Pending", containerStatuses=[container])
        found["spec"]["containers"][0]["name"] = name
        running.put(found)
    for number, message in enumerate(("Successfully assigned", 'Pulling image "any:1"')):
        meta = {"name": f"slow-{number}", "namespace": running.target.namespace}
        about = {"kind": "Pod", "namespace": running.target.namespace, "name": "bad-slow"}
        running.put({"apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about, "type": "Normal",
                     "message": message, "lastTimestamp": f"2026-01-01T00:00:0{number}Z"})  # fmt: skip
    kubelet.logs["crash.previous"] = "starting\nASSAY_STORE: names no bucket\npassword=hunter2hunter2\n"
    kubelet.logs["memory"] = "loading\n"
    said = {each.what: each for each in troubles(running.cluster, running.target)}
    assert {each.reason for each in said.values()} >= {reason for _, _, reason in WAITING.values()}
    assert said["bad-slow (slow)"].detail == 'Pulling image "any:1"'
    crash = said["bad-crash (crash)"].detail
    assert "exit code 3, 7 restarts" in crash
    assert "ASSAY_STORE: names no bucket" in crash
    assert "hunter2" not in crash
    assert "out of memory" in said["bad-memory (memory)"].detail


PLANTED = {
    "stored": "planted-in-a-secret-1f9c",
    "literal": "planted-in-the-environment-77ab",
    "address": "planted-in-an-address-c0de",
    "bearer": "planted-in-a-header-55aa",
    "query": "planted-in-a-query-31fe",
}


def test_no_secret_gets_into_a_bundle(running: Scene, kubelet: Kubelet, tmp_path: Path):
    where = running.target.namespace
    running.make_secret("planted", hidden=PLANTED["stored"])
    planted = pod(running, "planted", "moe_router", "front")
    planted["spec"]["containers"][0]["env"] = [
        {"name": "SOME_API_KEY", "value": PLANTED["literal"]},
        {"name": "CACHE", "value": f"redis://:{PLANTED['address']}@redis:6379/0"},
        {"name": "HARMLESS", "value": f"prefix {PLANTED['stored']}"},
        {"name": "SHOWN", "value": "this one stays"},
    ]
    running.put(planted)
    kubelet.logs["front"] = kubelet.logs["front.previous"] = (
        f"a line that stays\nauthorization: Bearer {PLANTED['bearer']}\n"
        f"GET /bucket?X-Amz-Signature={PLANTED['query']}&x=1\nkey is {PLANTED['stored']}\n"
    )
    meta = {"name": "event", "namespace": where}
    about = {"kind": "Pod", "namespace": where, "name": "planted"}
    running.put({"apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about, "reason": "Failed",
                 "message": f"cannot mount {PLANTED['stored']}", "type": "Warning"})  # fmt: skip
    plan = running.plan(f"administrators[0]={PLANTED['stored']}")
    Helm(plan.target).upgrade(plan.chart, plan.values, timeout_s=30)

    file = tmp_path / "bundle.tar.gz"
    names = bundle(running.cluster, running.target, file)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        files = {name: archive.extractfile(name) for name in archive.getnames()}
        texts = {name: file.read().decode() for name, file in files.items() if file}
        assert texts.keys() == files.keys()
    everything = "\n".join([*texts, *texts.values()])
    for what, secret in PLANTED.items():
        assert secret not in everything, what
        assert base64.b64encode(secret.encode()).decode() not in everything, what
    # That the archive says anything at all.
    assert "a line that stays" in texts["logs/planted/front.log"]
    assert "this one stays" in texts["objects/Pod.yaml"]
    assert {"versions.yaml", "helm/values.yaml", "objects/RayService.yaml", "objects/Event.yaml"} <= set(names)
    secrets = {each["metadata"]["name"]: each for each in yaml.safe_load(texts["objects/Secret.yaml"])}
    assert secrets["planted"]["data"] == {"hidden": "(removed)"}
    with pytest.raises(AlreadyExists):
        bundle(running.cluster, running.target, file)
