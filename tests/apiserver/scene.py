"""A cluster that has all that the chart wants, and the namespace of one test in it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import REPOSITORY, MinioServer

from apiserver.server import ADMIN, ApiServer, apply
from assay.errors import NotFound
from assay.platform.api import Cluster
from assay.platform.finding import Finding
from assay.platform.helm import Target, Values
from assay.platform.preflight import Plan, preflight

CHART = REPOSITORY / "charts/assay"
GPU = "NVIDIA-H100-80GB-HBM3"
Object = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def node(name: str, *, gpus: int = 0, product: str = GPU, cpu: str = "32", memory: str = "256Gi", gpu_gib: int = 80,
         taint: str = "", ready: bool = True) -> Object:  # fmt: skip
    labels = {"kubernetes.io/hostname": name}
    if gpus:
        labels |= {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": str(gpu_gib * 1024)}
    given = {"cpu": cpu, "memory": memory, "pods": "110"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    taints = [{"key": taint, "value": "yes", "effect": "NoSchedule"}] if taint else []
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": given, "capacity": given, "conditions": conditions},
    }


OPERATOR = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "kuberay-operator",
        "namespace": "kuberay-operator",
        "labels": {"app.kubernetes.io/name": "kuberay-operator"},
    },
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "operator", "image": "quay.io/kuberay/operator:v1.6.0"}]},
        },
    },
    "status": {"replicas": 1, "availableReplicas": 1, "readyReplicas": 1},
}


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def lay_out(server: ApiServer, rays: Object) -> None:
    """The definition of RayService, an operator that says it runs, two nodes with GPUs and one without."""
    cluster = server.cluster()
    cluster.create(DEFINITIONS, rays)
    apply(cluster, namespace("kuberay-operator"), OPERATOR)
    apply(cluster, node("gpu-1", gpus=8), node("gpu-2", gpus=8), node("cpu-1"))
    wait_served(cluster, "RayService")


def wait_served(cluster: Cluster, kind: str, *, version: str = "ray.io/v1", served: bool = True) -> None:
    """Definitions are served, and forgotten, a moment after they are changed."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        fresh = Cluster(cluster.client)
        try:
            fresh.resource(version, kind)
            there = True
        except NotFound:
            there = False
        if there is served:
            return
        time.sleep(0.05)
    raise TimeoutError(kind)


class Scene:
    """Values under which preflight finds nothing wrong: one service, one GPU, a store that is there."""

    def __init__(self, server: ApiServer, store: MinioServer, name: str) -> None:
        self.server = server
        self.store = store
        self.target = Target("trial", name, server.kubeconfig())
        self.cluster = server.cluster()
        self.sets = [
            "services.inference_optimizer.enabled=false",
            "services.tom_verifier.enabled=false",
            "defaults.front.autoscaling.enabled=false",
            f"pools.gpu.nodeSelector.nvidia\\.com/gpu\\.product={GPU}",
            f"store.url=s3://assay?endpoint={store.endpoint}",
            "store.existingSecret=keys",
        ]

    def plan(self, *sets: str, chart: Path = CHART, user: str = ADMIN, gpu_memory: int = 0) -> Plan:
        target = Target(self.target.release, self.target.namespace, self.server.kubeconfig(user))
        # With a file an upgrade starts from the chart's own values, so that each test says all that it wants.
        file = self.server.home / "values.yaml"
        file.write_text("{}")
        return Plan(target, chart, Values((file,), (*self.sets, *sets)), gpu_memory)

    def check(self, *sets: str, user: str = ADMIN, **more: Any) -> list[Finding]:
        return preflight(self.plan(*sets, user=user, **more), self.server.cluster(user))

    def make_secret(self, name: str = "keys", **data: str) -> None:
        """The namespace with the store's keys, as its operator would have made them."""
        data = data or {"accessKey": self.store.access_key, "secretKey": self.store.secret_key}
        meta = {"name": name, "namespace": self.target.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}
        apply(self.cluster, namespace(self.target.namespace), secret)

    def put(self, found: Object) -> None:
        apply(self.cluster, copy.deepcopy(found))

    @contextmanager
    def defined(self, group: str, **scopes: str) -> Iterator[None]:
        """For a while, kinds whose objects may hold anything: Namespaced or Cluster by kind, as v1 of their group."""
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        # Groups of Kubernetes' own want to know who approved.
        approval = {"api-approved.kubernetes.io": "unapproved, a test"}
        for kind, scope in scopes.items():
            plural = f"{kind.lower()}s"
            self.put({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}", "annotations": approval},
                "spec": {
                    "group": group, "scope": scope, "versions": [version], "names": {"kind": kind, "plural": plural},
                },
            })  # fmt: skip
        for kind in scopes:
            wait_served(self.cluster, kind, version=f"{group}/v1")
        try:
            yield
        finally:
            for kind in scopes:
                self.cluster.delete(f"{DEFINITIONS}/{kind.lower()}s.{group}")
            for kind in scopes:
                wait_served(self.cluster, kind, version=f"{group}/v1", served=False)

    @contextmanager
    def changed(self, found: Object) -> Iterator[None]:
        """An object of the whole cluster otherwise than it was, for a while."""
        meta = found["metadata"]
        path = self.cluster.path_of(found["apiVersion"], found["kind"], meta.get("namespace"), meta["name"])
        before = self.cluster.get(path)
        self.put(found)
        try:
            yield
        finally:
            for gone in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
                before["metadata"].pop(gone, None)
            self.put(before)
