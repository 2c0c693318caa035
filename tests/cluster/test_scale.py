"""2,000 simulated GPU nodes (KWOK): nothing runs there, and everything is scheduled as it would be."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.kubernetes import Kubernetes, Object, is_ready, until
from cluster.release import Release, assay

NODES = 2000
PRODUCTS = ("NVIDIA-L4", "NVIDIA-H100-80GB-HBM3")
WORKERS = {"moe_router": 250, "tom_verifier": 250, "inference_optimizer": 500}  # of 8 GPUs each
PRODUCT = {"moe_router": "NVIDIA-L4", "tom_verifier": "NVIDIA-L4", "inference_optimizer": "NVIDIA-H100-80GB-HBM3"}
FRONTS = 9


def simulated(number: int) -> Object:
    """A node of 8 GPUs that KWOK answers for: the first half of the one product, the second of the other."""
    product = PRODUCTS[number * len(PRODUCTS) // NODES]
    labels = {
        "type": "kwok",
        "kubernetes.io/hostname": f"gpu-{number}",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": product,
        "topology.kubernetes.io/zone": f"zone-{number % 3}",
    }
    room = {"cpu": "96", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"gpu-{number}", "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels},
        "status": {"allocatable": room, "capacity": room},
    }


@pytest.fixture(scope="module")
def nodes(kubernetes: Kubernetes) -> Iterator[dict[str, dict[str, str]]]:
    """Name -> labels. Three zones, two products; the real node takes no more pods meanwhile."""
    if not kubernetes.own:
        pytest.skip("only a cluster of the tests' own is given simulated nodes")
    real = json.loads(kubernetes.kubectl("get", "nodes", "-o", "json"))["items"]
    names = [node["metadata"]["name"] for node in real if node["metadata"]["labels"].get("type") != "kwok"]
    try:
        kubernetes.kubectl("cordon", *names)
        kubernetes.simulate(1)  # starts KWOK, which then answers for ours as well
        kubernetes.kubectl("delete", "nodes", "-l", "type=kwok")
        made = "\n---\n".join(json.dumps(simulated(number)) for number in range(NODES))
        kubernetes.run("kubectl", "apply", "--server-side", "-f", "-", input=made, timeout=300)
        # Ready is not enough: the taint of a new node is taken off some five nodes a second.
        tainted = ("get", "nodes", "-l", "type=kwok", "-o", "jsonpath={.items[*].spec.taints[*].key}")
        until("all nodes ready", 900, lambda: not kubernetes.kubectl(*tainted, timeout=60).strip())
        found = json.loads(kubernetes.kubectl("get", "nodes", "-l", "type=kwok", "-o", "json"))["items"]
        yield {node["metadata"]["name"]: node["metadata"]["labels"] for node in found}
    finally:
        kubernetes.kubectl("delete", "nodes", "-l", "type=kwok", timeout=600)
        kubernetes.kubectl("uncordon", *names)


@pytest.fixture(scope="module")
def full(kubernetes: Kubernetes, nodes: dict[str, dict[str, str]]) -> Iterator[Release]:
    """All pools at their maximum."""
    settings = [
        "minio.enabled=false", "store.url=s3://assay", "store.existingSecret=s3",
        "services.inference_optimizer.enabled=true", f"defaults.front.replicas={FRONTS}",
        "defaults.engine.resources.gpus=8", "defaults.engine.resources.cpu=8",
        "pools.gpu.nodeSelector.nvidia\\.com/gpu\\.product=NVIDIA-L4",
        "pools.large.nodeSelector.nvidia\\.com/gpu\\.product=NVIDIA-H100-80GB-HBM3",
        "services.moe_router.engine.pool=gpu", "services.tom_verifier.engine.pool=gpu",
        "services.inference_optimizer.engine.pool=large",
    ]  # fmt: skip
    for name, count in WORKERS.items():
        settings += [f"services.{name}.engine.replicas.{bound}={count}" for bound in ("min", "max")]
    made = Release(kubernetes, "full", "assay-scale", *settings)
    try:
        kubernetes.kubectl("create", "namespace", made.namespace)
        keys = ("--from-literal=accessKey=none", "--from-literal=secretKey=none")
        kubernetes.kubectl("create", "secret", "generic", "s3", "-n", made.namespace, *keys)
        made.install()
        yield made
    finally:
        made.uninstall()


def running(release: Release, service: str, part: str) -> list[Object]:
    pods = release.pods(service, part) if part == "front" else release.ray_pods(service, "worker")
    return [pod for pod in pods if pod["spec"].get("nodeName") and pod["status"].get("phase") == "Running"]


def all_running(release: Release) -> bool:
    return all(len(running(release, name, "worker")) == count for name, count in WORKERS.items()) and all(
        len(running(release, name, "front")) == FRONTS for name in WORKERS
    )


def zones(pods: list[Object], nodes: dict[str, dict[str, str]]) -> Counter[str]:
    return Counter(nodes[pod["spec"]["nodeName"]]["topology.kubernetes.io/zone"] for pod in pods)


def test_all_pools_at_their_maximum_land_where_they_belong(
    full: Release, nodes: dict[str, dict[str, str]], figure: Callable[..., None]
) -> None:
    assert len(nodes) == NODES
    begun = time.monotonic()
    until("all pods placed", 600, lambda: all_running(full))
    figure(
        f"{sum(WORKERS.values())} workers of 8 GPUs on {NODES} simulated nodes, placed after, s",
        time.monotonic() - begun,
    )
    for name, product in PRODUCT.items():
        workers = running(full, name, "worker")
        assert {nodes[pod["spec"]["nodeName"]]["nvidia.com/gpu.product"] for pod in workers} == {product}
        # A worker takes a node's 8 GPUs, so none shares one.
        assert len({pod["spec"]["nodeName"] for pod in workers}) == len(workers)
        spread = {part: zones(running(full, name, part), nodes) for part in ("front", "worker")}
        assert max(spread["front"].values()) - min(spread["front"].values()) <= 1, spread
        assert max(spread["worker"].values()) - min(spread["worker"].values()) <= 1, spread
        assert sorted(spread["front"]) == ["zone-0", "zone-1", "zone-2"]


def test_the_deploy_tool_looks_at_them_all(full: Release, figure: Callable[..., None]) -> None:
    named = ("--release", full.name, "--namespace", full.namespace)
    for command in ("status", "preflight"):
        begun = time.monotonic()
        settings = full.settings if command == "preflight" else []
        done = full.kubernetes.run(assay(), "platform", command, *named, *settings, check=False)
        figure(f"assay platform {command} at {NODES} nodes, s", time.monotonic() - begun)
        assert done.returncode in (0, 5), done.stderr  # 5: preflight of a namespace that is full
        assert "NVIDIA" in done.stdout or str(sum(WORKERS.values()) * 8) in done.stdout or "GPU" in done.stdout


def test_a_tenth_of_the_nodes_is_drained_within_the_budgets(
    full: Release, nodes: dict[str, dict[str, str]], figure: Callable[..., None]
) -> None:
    leaving = set(random.Random(0).sample(sorted(nodes), NODES // 10))
    full.kubernetes.kubectl("cordon", *sorted(leaving), timeout=300)
    begun, waiting, refused, least = time.monotonic(), _on(full, leaving), 0, FRONTS
    figure("pods on the tenth of nodes that goes", len(waiting))
    assert any(pod["metadata"]["labels"]["app.kubernetes.io/component"] == "front" for pod in waiting)
    while waiting:
        for pod in waiting:
            refused += not full.evict(pod)
        for name in WORKERS:
            least = min(least, sum(is_ready(pod) for pod in full.pods(name)))
        waiting = _on(full, leaving)
        assert time.monotonic() < begun + 500, f"{len(waiting)} pods are still there"
    figure("drained within budgets, s; evictions put off", [round(time.monotonic() - begun, 1), refused])
    # The budget lets one front at a time go; each is made anew elsewhere before the next goes.
    assert least >= FRONTS - 1
    until("all pods placed again", 300, lambda: all_running(full))
    for name, product in PRODUCT.items():
        landed = {pod["spec"]["nodeName"] for pod in running(full, name, "worker")}
        assert not landed & leaving
        assert {nodes[node]["nvidia.com/gpu.product"] for node in landed} == {product}


def _on(release: Release, nodes: set[str]) -> list[Any]:
    pods = release.kubernetes.pods(release.namespace, f"app.kubernetes.io/instance={release.name}")
    return [pod for pod in pods if pod["spec"].get("nodeName") in nodes]
