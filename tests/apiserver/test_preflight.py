"""Preflight on a real API server: clean, and broken in ways it can really be broken."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from apiserver.scene import CHART, DEFINITIONS, GPU, OPERATOR, Scene, namespace, node, wait_served
from apiserver.server import NOBODY
from assay.platform.finding import Finding, failed
from assay.platform.helm import Helm
from assay.platform.ownership import take
from assay.platform.preflight import preflight


def the(findings: list[Finding], name: str, result: str = "fail") -> Finding:
    """The one finding of that name and result; every other one is as it was on the clean cluster."""
    found = [each for each in findings if each.result != "ok"]
    assert [each.name for each in found] == [name], found
    assert found[0].result == result
    assert found[0].remedy
    return found[0]


def test_a_cluster_that_has_everything_is_clean(scene: Scene):
    found = scene.check()
    assert [each for each in found if each.result != "ok"] == []
    assert {each.name for each in found} == {
        "Helm", "Kubernetes", "namespace", "permissions", "CRD RayService", "KubeRay operator", "nodes",
        ENGINE, FRONT,
        "room for trial-assay-moe-router-engine head", "GPU memory for trial-assay-moe-router-engine gpu workers",
        "secret keys", "store", "pods' admission", "API server",
    }  # fmt: skip


ENGINE = "room for trial-assay-moe-router-engine gpu workers"
FRONT = "room for trial-assay-moe-router"
UPGRADES = "room for upgrades"
# What is asked of the unchanged cluster that it has not: values, finding, what was found, remedy.
WANTING = {
    "no cert-manager": (
        ["transport=mtls", "mtls.issuer.name=ca"],
        "CRD Certificate", "cert-manager.io/v1 is not served", "install cert-manager",
    ),
    "no Prometheus operator": (
        ["monitoring.alerts=true"],
        "CRD PrometheusRule", "monitoring.coreos.com/v1 is not served", "install the Prometheus operator",
    ),
    "no Gateway API": (
        ["gateway.enabled=true", "gateway.parent.name=public"],
        "CRD GRPCRoute", "is not served", "gateway.enabled: false",
    ),
    "GPUs of another product": (
        ["pools.gpu.nodeSelector.nvidia\\.com/gpu\\.product=NVIDIA-L4"],
        ENGINE, "3 have other labels", f"nvidia.com/gpu.product=NVIDIA-L4 (GPU nodes here: 2 with {GPU})",
    ),
    "too few GPUs": (
        ["defaults.engine.replicas.min=3", "defaults.engine.replicas.max=3", "defaults.engine.resources.gpus=8"],
        ENGINE, "2 of 3 pods of 4 CPU, 16 GiB memory, 8 GPU fit", "add nodes",
    ),
    "too little CPU": (
        ["defaults.engine.resources.cpu=64"], ENGINE, "2 have too little CPU free", "lower engine.resources",
    ),
    "too little memory": (
        ["defaults.engine.resources.memory=512Gi"], ENGINE, "2 have too little memory free", "lower engine.resources",
    ),
    "too little memory for fronts": (
        ["defaults.front.resources.requests.memory=300Gi", "defaults.front.resources.limits.memory=300Gi"],
        FRONT, "0 of 2 pods of 0.25 CPU, 300 GiB memory fit", "front.resources",
    ),
    "a secret that is not there": (
        ["engineToken.existingSecret=token"], "secret token", "is not there",
        "create secret generic token --from-literal=token=...",
    ),
    "a pull secret that is not there": (
        ["image.pullSecrets[0].name=pull"], "secret pull", "is not there", "create secret generic pull",
    ),
    "a bucket that is not there": (None, "store", "s3://nothing", "make the bucket"),
    "a store nobody knows": (None, "store", "127.0.0.1:9 does not answer from here", "start it"),
}  # fmt: skip


@pytest.mark.parametrize("case", WANTING)
def test_what_the_values_want_and_the_cluster_has_not_is_named(scene: Scene, case: str):
    sets, name, found, remedy = WANTING[case]
    if case.startswith("a bucket"):
        sets = [f"store.url=s3://nothing?endpoint={scene.store.endpoint}"]
    elif case.startswith("a store"):
        sets = ["store.url=s3://assay?endpoint=http://127.0.0.1:9"]
    said = scene.check(*sets)
    the_one = the(said, name)
    assert found in the_one.found
    assert remedy in the_one.remedy


def test_without_room_for_a_second_cluster_an_upgrade_is_warned_of(scene: Scene):
    # 16 GPUs: 9 are taken, 7 are left, and a second cluster wants 9 more.
    sets = ["defaults.engine.replicas.min=9", "defaults.engine.replicas.max=9"]
    assert "second Ray cluster" in the(scene.check(*sets), UPGRADES, "warn").found
    assert failed(scene.check(*sets, "defaults.engine.upgrade.strategy=None")) == []


def test_mesh_without_istio_is_named_for_each_kind(scene: Scene):
    kinds = {each.name for each in failed(scene.check("transport=mesh"))}
    istio = {"AuthorizationPolicy", "DestinationRule", "EnvoyFilter", "PeerAuthentication", "VirtualService"}
    assert kinds >= {f"CRD {kind}" for kind in istio}


def test_no_storage_class_and_a_wrong_one(scene: Scene):
    sets = ["minio.enabled=true", "minio.image=minio:1", "store.url=", "store.existingSecret="]
    name = "storage of trial-assay-minio"
    assert "no storage class is the default; there are none" in the(scene.check(*sets), name).found
    scene.put({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
               "provisioner": "example.org/disk"})  # fmt: skip
    wrong = the(scene.check(*sets, "minio.storageClass=slow"), name)
    assert "there is no storage class slow; there are fast" in wrong.found
    assert failed(scene.check(*sets, "minio.storageClass=fast")) == []
    scene.cluster.delete("/apis/storage.k8s.io/v1/storageclasses/fast")


def test_gpus_with_less_memory_than_a_replica_needs(scene: Scene):
    found = the(scene.check(gpu_memory=96 * 2**30), "GPU memory for trial-assay-moe-router-engine gpu workers")
    assert found.found == "80 GiB a GPU, and a replica needs 96 GiB"


def test_no_gpu_is_allocatable(scene: Scene):
    with scene.changed(node("gpu-1", gpus=8) | _without_gpus()), scene.changed(node("gpu-2") | _without_gpus()):
        found = failed(scene.check())
    assert [each.name for each in found] == [ENGINE]
    assert "device plugin" in found[0].remedy


def _without_gpus() -> dict[str, Any]:
    made = node("any", gpus=8)["status"]
    return {"status": made | {"allocatable": made["allocatable"] | {"nvidia.com/gpu": "0"}}}


def test_gpus_that_others_use_are_not_free(scene: Scene):
    scene.put(namespace("others"))
    for number in (1, 2):
        resources = {"limits": {"nvidia.com/gpu": "8"}}
        container = {"name": "busy", "image": "busy:1", "resources": resources}
        meta = {"name": f"busy-{number}", "namespace": "others"}
        scene.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta,
                   "spec": {"nodeName": f"gpu-{number}", "containers": [container]}})  # fmt: skip
    try:
        found = failed(scene.check())
    finally:
        for number in (1, 2):
            scene.cluster.raw("DELETE", f"/api/v1/namespaces/others/pods/busy-{number}?gracePeriodSeconds=0")
    assert [each.name for each in found] == [ENGINE]
    assert "2 have too few GPUs free" in found[0].found
    assert failed(scene.check()) == []


def test_a_taint_that_the_pool_does_not_tolerate(scene: Scene):
    with (
        scene.changed(node("gpu-1", gpus=8, taint="dedicated")),
        scene.changed(node("gpu-2", gpus=8, taint="dedicated")),
    ):
        found = failed(scene.check())
        tolerated = scene.check("pools.gpu.tolerations[0].key=dedicated", "pools.gpu.tolerations[0].operator=Exists")
    assert [each.name for each in found] == [ENGINE]
    assert "2 have the taint dedicated=yes:NoSchedule" in found[0].found
    assert "toleration of dedicated" in found[0].remedy
    assert failed(tolerated) == []


def test_nodes_that_are_not_ready(scene: Scene):
    with scene.changed(node("gpu-1", gpus=8, ready=False)):
        assert "not so gpu-1" in the(scene.check(), "nodes", "warn").found
        with scene.changed(node("gpu-2", gpus=8, ready=False)), scene.changed(node("cpu-1", ready=False)):
            assert {"nodes", ENGINE, FRONT} <= {each.name for each in failed(scene.check())}


def test_the_store_down_and_with_other_keys(scene: Scene):
    scene.store.kill()
    try:
        found = the(scene.check(), "store")
    finally:
        scene.store.start()
    assert "does not answer from here" in found.found
    scene.make_secret("keys", accessKey="someone-else", secretKey="wrong-but-long")
    assert "refuses the keys" in the(scene.check(), "store").found


def test_a_store_inside_the_cluster_is_not_judged_from_here(scene: Scene):
    found = the(scene.check("store.url=s3://assay?endpoint=http://minio.storage.svc:9000"), "store", "warn")
    assert "not checkable from here" in found.found


def test_a_key_missing_in_a_secret(scene: Scene):
    scene.make_secret("redis", username="nobody")
    sets = ["gcsFaultTolerance.enabled=true", "gcsFaultTolerance.redisAddress=redis:6379",
            "gcsFaultTolerance.existingSecret=redis"]  # fmt: skip
    assert "has no key password" in the(scene.check(*sets), "secret redis").found


def grant(scene: Scene, *rules: Any) -> None:
    """A Role of the user who else may do nothing: (groups, resources, verbs), each separated by blanks."""
    where = scene.target.namespace
    rbac = "rbac.authorization.k8s.io"
    allowed = [
        {"apiGroups": groups.split(",") if groups else [""], "resources": resources.split(), "verbs": verbs.split()}
        for groups, resources, verbs in rules
    ]
    meta = {"name": "r", "namespace": where}
    scene.put({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": allowed})
    scene.put({
        "apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": NOBODY}],
    })  # fmt: skip


def test_permissions_by_a_users_real_roles(scene: Scene):
    grant(scene, (",apps,batch,policy,networking.k8s.io", "*", "*"), ("ray.io", "rayservices", "get"))
    found = {each.name: each for each in scene.check(user=NOBODY) if each.result != "ok"}
    said = found["permissions"]
    assert said.found == "may not create rayservices, patch rayservices, delete rayservices"
    assert f"Role in {scene.target.namespace}" in said.remedy
    assert found["permissions on the cluster"].found == "may not list nodes or pods of all namespaces"
    assert found["room"].found.startswith("not checkable")


def test_permissions_that_helm_and_the_looks_need_beside_those_for_the_objects(scene: Scene):
    made = "secrets services configmaps serviceaccounts deployments poddisruptionbudgets networkpolicies rayservices"
    objects = (",apps,policy,networking.k8s.io,ray.io", made, "get create patch delete")
    tenants = "pods services persistentvolumeclaims deployments statefulsets daemonsets jobs cronjobs"
    others = ((",apps,batch", tenants, "list"), ("", "pods", "get create"))
    grant(scene, objects, *others, ("", "namespaces", "get"), ("", "pods/portforward", "get"))
    found = {each.name: each for each in scene.check(user=NOBODY)}
    said = "may not list secrets, update secrets, patch the namespace, which gets a label"
    assert (found["permissions"].result, found["permissions"].found) == ("fail", said)
    looks = found["permissions to look"]
    assert (looks.result, looks.found) == ("warn", "may not get pods/log, create pods/portforward")
    # What preflight then is content with is enough to install.
    grant(scene, objects, *others, ("", "namespaces", "get patch"), ("", "secrets", "list update"))
    plan = scene.plan(user=NOBODY)
    cluster = scene.server.cluster(NOBODY)
    said = {each.name: each.result for each in preflight(plan, cluster)}["permissions"]
    assert said == "ok"
    take(cluster, plan.target)
    Helm(plan.target).install(plan.chart, plan.values, timeout_s=30)
    assert [each.status for each in Helm(plan.target).history()] == ["deployed"]


def test_a_quota_too_small_and_one_that_leaves_room(scene: Scene):
    # 2 fronts of 0.25, a head of 1 with its autoscaler's 0.2, a worker of 4: 5.7 CPU.
    hard = {"requests.cpu": "5", "requests.nvidia.com/gpu": "4", "pods": "100"}
    meta = {"name": "q", "namespace": scene.target.namespace}
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}, "status": status}
    scene.put(quota)
    assert the(scene.check(), "quota q").found == "requests.cpu: 5.7 needed, 5 left of 5"
    hard["requests.cpu"] = "6"
    scene.put(quota)
    assert failed(scene.check()) == []
    status["used"] = hard | {"requests.cpu": "1"}
    scene.put(quota)
    assert "requests.cpu: 5.7 needed, 5 left of 6" in failed(scene.check())[-1].found
    scene.put({key: value for key, value in quota.items() if key != "status"} | {"spec": {}})
    assert [each.result for each in scene.check() if each.name == "quota q"] == ["ok"]


def test_a_limit_range_refuses_pods(scene: Scene):
    limits = [{"type": "Container", "max": {"memory": "8Gi"}}]
    meta = {"name": "l", "namespace": scene.target.namespace}
    scene.put({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": limits}})
    found = the(scene.check(), "pods' admission")
    assert "maximum memory usage per Container is 8Gi, but limit is 16Gi" in found.found
    assert "LimitRange" in found.remedy


def test_a_restricted_namespace_takes_our_pods_and_no_laxer_ones(scene: Scene, tmp_path: Path):
    scene.put(namespace(scene.target.namespace, **{"pod-security.kubernetes.io/enforce": "restricted"}))
    assert failed(scene.check()) == []
    lax = tmp_path / "assay"
    shutil.copytree(CHART, lax)
    helpers = lax / "templates/_environment.tpl"
    helpers.write_text(re.sub("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", helpers.read_text()))
    found = failed(scene.check(chart=lax))
    assert {each.name for each in found} == {"pods' admission"}
    assert "allowPrivilegeEscalation" in found[0].found
    assert "pod-security.kubernetes.io/enforce" in found[0].remedy


def test_namespaces_of_others(scene: Scene):
    scene.put(namespace(scene.target.namespace, **{"assay.platform/release": "other"}))
    assert "belongs to the release other" in the(scene.check(), "namespace").found


def test_a_namespace_in_use(scene: Scene):
    meta = {"name": "theirs", "namespace": scene.target.namespace}
    scene.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})
    found = the(scene.check(), "namespace")
    assert "Service theirs" in found.found
    assert "kubectl label namespace" in found.remedy


def test_the_operator_down_old_elsewhere_or_out_of_sight(scene: Scene):
    name = "KubeRay operator"
    with scene.changed(OPERATOR | {"status": {"availableReplicas": None, "readyReplicas": None, "replicas": 1}}):
        assert "no pod that is available" in the(scene.check(), name).found
    old = copy.deepcopy(OPERATOR)
    old["spec"]["template"]["spec"]["containers"][0]["image"] = "quay.io/kuberay/operator:v1.3.2"
    with scene.changed(old):
        assert "v1.3.2" in the(scene.check(), name).found
    elsewhere = the(scene.check("networkPolicy.operatorNamespace=ray"), name)
    assert elsewhere.remedy == "set networkPolicy.operatorNamespace=kuberay-operator"
    hidden = copy.deepcopy(OPERATOR)
    hidden["metadata"]["labels"] = {"app.kubernetes.io/name": "something-else"}
    with scene.changed(hidden):
        assert "unless a managed one runs" in the(scene.check(), name, "warn").remedy


def test_an_issuer_missing_and_one_not_ready(scene: Scene):
    sets = ["transport=mtls", "mtls.issuer.name=ca"]
    conditions = [{"type": "Ready", "status": "False", "message": "no key pair"}]
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "ca"}}
    with scene.defined("cert-manager.io", Certificate="Namespaced", ClusterIssuer="Cluster"):
        assert "there is no ClusterIssuer" in the(scene.check(*sets), "issuer ca").found
        scene.cluster.apply(issuer | {"status": {"conditions": conditions}}, manager="test")
        assert "not ready: no key pair" in the(scene.check(*sets), "issuer ca").found
        conditions[0]["status"] = "True"
        scene.cluster.apply(issuer | {"status": {"conditions": conditions}}, manager="test")
        assert failed(scene.check(*sets)) == []


def test_an_old_crd_and_none(scene: Scene):
    path = f"{DEFINITIONS}/rayservices.ray.io"
    whole = scene.cluster.get(path)
    old = copy.deepcopy(whole)
    served = next(each for each in old["spec"]["versions"] if each["name"] == "v1")
    spec = served["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["rayClusterDeletionDelaySeconds"], spec["rayClusterConfig"]["properties"]["authOptions"]
    scene.cluster.raw("PUT", path, body=old)
    name = "CRD RayService"
    found = the(scene.check(), name)
    assert "without the fields spec.rayClusterConfig.authOptions, spec.rayClusterDeletionDelaySeconds" in found.found
    assert "1.6 or newer" in found.remedy

    scene.cluster.delete(path)
    wait_served(scene.cluster, "RayService", served=False)
    assert "ray.io/v1 is not served" in the(scene.check(), name).found
    whole["metadata"] = {"name": whole["metadata"]["name"], "annotations": whole["metadata"]["annotations"]}
    scene.cluster.create(DEFINITIONS, {key: whole[key] for key in ("apiVersion", "kind", "metadata", "spec")})
    wait_served(scene.cluster, "RayService")


def test_no_secret_value_is_ever_said(scene: Scene):
    scene.make_secret("keys", accessKey=scene.store.access_key, secretKey="planted-secret-value")
    said = json.dumps([vars(each) for each in scene.check()])
    assert "planted-secret-value" not in said
