"""The chart installed, and callers of its services."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import REPOSITORY, find_tool

from cluster.kubernetes import Kubernetes, Object, until

CHART = REPOSITORY / "charts/assay"
LAPTOP = CHART / "values-laptop.yaml"


class Release:
    """A release of charts/assay in a namespace of its own."""

    def __init__(self, kubernetes: Kubernetes, name: str, namespace: str, *settings: str) -> None:
        self.kubernetes = kubernetes
        self.name = name
        self.namespace = namespace
        self.settings = ["--values", str(LAPTOP), *(part for setting in settings for part in ("--set", setting))]

    def helm(self, command: str, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self.kubernetes.helm(command, self.name, *arguments, "-n", self.namespace, timeout=timeout)

    def install(self, *arguments: str) -> None:
        self.helm("install", str(CHART), "--create-namespace", *self.settings, *arguments)

    def upgrade(self, *settings: str) -> None:
        """Waits until the fronts are as asked."""
        changed = [part for setting in settings for part in ("--set", setting)]
        self.helm("upgrade", str(CHART), *self.settings, *changed, "--wait")

    def uninstall(self) -> None:
        """Waits for every pod to be gone, so that the node has room for the next release."""
        self.helm("uninstall", "--wait")
        # KubeRay takes what a head left in Redis away by a job, which a namespace that is going would not let it make.
        until(
            "all Ray clusters gone",
            400,
            lambda: not self.kubernetes.kubectl("get", "raycluster", "-n", self.namespace, "-o", "name").strip(),
        )
        gone = ("get", "pods", "-n", self.namespace, "-l", f"app.kubernetes.io/instance={self.name}", "-o", "name")
        until("all pods gone", 180, lambda: not self.kubernetes.kubectl(*gone).strip())
        self.kubernetes.kubectl("delete", "namespace", self.namespace, "--wait=true", timeout=180)

    def front(self, service: str) -> str:
        """As the chart names it: a release that has assay in its name gets no second one."""
        base = self.name if "assay" in self.name else f"{self.name}-assay"
        return f"{base}-{service.replace('_', '-')}"

    def address(self, service: str) -> str:
        return f"{self.front(service)}.{self.namespace}.svc.cluster.local:50051"

    def pods(self, service: str, part: str = "front", **labels: str) -> list[Object]:
        asked = {"app.kubernetes.io/instance": self.name, "assay/service": service.replace("_", "-")}
        asked |= {"app.kubernetes.io/component": part} | labels
        return self.kubernetes.pods(self.namespace, ",".join(f"{key}={value}" for key, value in asked.items()))

    def ray_pods(self, service: str, node_type: str) -> list[Object]:
        """node_type: head or worker."""
        return self.pods(service, "engine", **{"ray.io/node-type": node_type})

    def delete_pod(self, pod: Object, *, force: bool = False) -> None:
        """force: as a node does that is lost: nothing is asked, nothing waited for."""
        forced = ("--grace-period=0", "--force") if force else ("--wait=false",)
        self.kubernetes.kubectl("delete", "pod", "-n", self.namespace, pod["metadata"]["name"], *forced)

    def evict(self, pod: Object) -> bool:
        """Asks by the eviction API, which heeds budgets: False where one forbids it for now."""
        name, path = pod["metadata"]["name"], f"/api/v1/namespaces/{self.namespace}/pods"
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        command = ("kubectl", "create", "--raw", f"{path}/{name}/eviction", "-f", "-")
        done = self.kubernetes.run(*command, input=json.dumps(eviction), check=False)
        assert done.returncode == 0 or "disruption budget" in done.stderr or "NotFound" in done.stderr, done.stderr
        return "disruption budget" not in done.stderr

    def put(self, folder: Path, kind: str) -> str:
        """Stores the folder through a front, as a client does. Its digest."""
        command = (assay(), "artifacts", "put", folder, "--kind", kind)
        done = self.kubernetes.run("env", f"ASSAY_ENDPOINT={self.address('moe_router')}", *command, timeout=120)
        return done.stdout.split()[-1]

    def active_cluster(self, service: str) -> str:
        """Name of the Ray cluster that serves."""
        found = self.kubernetes.get("rayservice", self.namespace, f"{self.front(service)}-engine")
        return str(found.get("status", {}).get("activeServiceStatus", {}).get("rayClusterName", ""))

    def serves(self, service: str) -> bool:
        """Whether a front of it answers, and its store and its engine too."""
        full_name = f"assay.{service}.v1.{''.join(word.title() for word in service.split('_'))}Service"
        asked = self.kubernetes.run(
            find_tool("grpcurl"), "-plaintext", "-max-time", "3", "-d", json.dumps({"service": full_name}),
            self.address(service), "grpc.health.v1.Health/Check", check=False,
        )  # fmt: skip
        return '"status": "SERVING"' in asked.stdout

    def wait_until_served(self, *services: str, seconds: float = 240) -> None:
        for name in services:
            until(f"{name} serves", seconds, functools.partial(self.serves, name))


def assay() -> Path:
    """The command, of the environment that runs the tests."""
    return Path(sys.executable).with_name("assay")


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cluster.client", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    return kept | {"PYTHONPATH": str(REPOSITORY / "tests")}


class Calibration:
    """A calibration that runs in the cluster, started and awaited by a caller there."""

    def __init__(self, release: Release, model: str, text: str, sequences: int) -> None:
        command = python("calibrate", release.address("moe_router"), model, text, str(sequences))
        self._process = release.kubernetes.start_program(*command, env=environment())
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        assert first.startswith("{"), first + self._process.stdout.read()
        self.operation: str = json.loads(first)["operation"]

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self, seconds: float = 300) -> Any:
        said, _ = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0, said[-3000:]
        return json.loads(said.strip().splitlines()[-1])["result"]


@contextmanager
def callers(release: Release, rate: float, model: str = "") -> Iterator[list[dict[str, Any]]]:
    """So many calls a second while the block runs, of moe-router where a model is named, else of tom-verifier.

    The list has them when it is over.
    """
    address = release.address("moe_router" if model else "tom_verifier")
    calls: list[dict[str, Any]] = []
    with _client(release, "call", address, str(rate), *([model] if model else [])) as said:
        yield calls
    calls += said["calls"]


@contextmanager
def insisting(release: Release) -> Iterator[dict[str, Any]]:
    """A caller of tom-verifier that tries again as it is told, while the block runs."""
    with _client(release, "insist", release.address("tom_verifier")) as said:
        yield said


@contextmanager
def _client(release: Release, *command: str) -> Iterator[dict[str, Any]]:
    """Runs until the block is over; the dict then has what it said."""
    process = release.kubernetes.start_program(*python(*command), env=environment())
    found: dict[str, Any] = {}
    try:
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=150)
    found |= json.loads(said.strip().splitlines()[-1])


def failed(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in calls if found["code"] != "OK"]


def outage(calls: Sequence[dict[str, Any]]) -> float:
    """Seconds from the first failed call to the first that began after the last failure and was answered."""
    bad = failed(calls)
    if not bad:
        return 0.0
    after = [found["at"] for found in calls if found["code"] == "OK" and found["at"] > bad[-1]["at"]]
    return (min(after) if after else calls[-1]["at"]) - bad[0]["at"]


def local_volume(kubernetes: Kubernetes, folder: Path) -> str:
    """A storage class with one volume in it, in `folder` of the node, which is this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    name = "assay-test"
    node = json.loads(kubernetes.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
    objects = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "5Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": name,
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": str(folder)},
                "nodeAffinity": {
                    "required": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
                                ]
                            }
                        ]
                    }
                },
            },
        },
    ]
    text = "\n---\n".join(json.dumps(found) for found in objects)
    kubernetes.run("kubectl", "apply", "-f", "-", input=text)
    return name
