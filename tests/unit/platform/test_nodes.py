"""Which nodes take a pod: worked by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from assay.platform.nodes import Node, occupy, place, untolerated
from assay.platform.workloads import GPU, requests_of


def node(name: str, cpu: str = "8", memory: str = "32Gi", gpus: int = 0, **more: Any) -> Node:
    return Node.of({
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": {"taints": more.get("taints", []), "unschedulable": more.get("cordoned", False)},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": more.get("pods", "10"), GPU: str(gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })  # fmt: skip


def pod(cpu: str = "1", memory: str = "1Gi", gpus: int = 0, **more: Any) -> dict[str, Any]:
    limits = {GPU: str(gpus)} if gpus else {}
    container = {"resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": limits}}
    return {"containers": [container], **more}


def test_a_pod_asks_for_the_sum_of_its_containers_or_its_largest_start():
    spec = {
        "containers": [
            {"resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}},
            {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4", GPU: "2"}}},
        ],
        "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
    }
    assert requests_of(spec) == {"cpu": Decimal(2), "memory": Decimal(2**30), GPU: Decimal(2)}


def test_pods_are_placed_where_room_is():
    # 8 CPU hold 2 pods of 3; the second node's memory holds 1; the third's GPUs none.
    nodes = [node("a"), node("b", memory="1Gi"), node("c", cpu="1")]
    got = place(nodes, pod(cpu="3"), 5)
    assert (got.placed, got.wanted) == (3, 5)
    assert dict(got.why) == {"have too little CPU free": 2, "have too little memory free": 1}


def test_what_a_node_has_is_not_what_is_free():
    nodes = [node("a", gpus=4)]
    occupy(nodes, [{"spec": {"nodeName": "a", **pod(gpus=3)}}, {"spec": {"nodeName": "elsewhere", **pod(gpus=8)}}])
    assert place(nodes, pod(gpus=1), 2).placed == 1


def test_pods_without_gpus_leave_gpu_nodes_to_others():
    nodes = [node("gpu", gpus=8), node("cpu")]
    place(nodes, pod(cpu="8"), 1)
    assert [each.free["cpu"] for each in nodes] == [8, 0]


def test_a_cordoned_node_and_a_full_one_take_nothing():
    got = place([node("a", cordoned=True), node("b", pods="0")], pod(), 1)
    assert dict(got.why) == {"are not ready or cordoned": 1, "have no place for a pod": 1}


@pytest.mark.parametrize(
    ("toleration", "kept_out"),
    [
        ({}, True),
        ({"key": "gpu", "operator": "Exists"}, False),
        ({"key": "gpu", "value": "yes"}, False),
        ({"key": "gpu", "value": "no"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, True),
        ({"operator": "Exists"}, False),
        ({"key": "other", "operator": "Exists"}, True),
    ],
)
def test_tolerations_as_kubernetes_reads_them(toleration: dict[str, str], kept_out: bool):
    tainted = node("a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert (untolerated(tainted, pod(tolerations=[toleration])) is not None) is kept_out


def test_a_preference_keeps_nobody_out():
    preferring = node("a", taints=[{"key": "gpu", "value": "yes", "effect": "PreferNoSchedule"}])
    assert untolerated(preferring, pod()) is None
