"""What counts as ready, and what a server's answer says would change."""

from __future__ import annotations

from typing import Any

import pytest

from assay.platform.diff import _change, _drop
from assay.platform.readiness import _engine, _rollout


def deployment(status: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "front", "generation": 2},
        "spec": {"replicas": 2},
        "status": status,
    }


READY = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("status", "done"),
    [
        (READY, True),
        (READY | {"observedGeneration": 1}, False),  # the controller has not seen the change
        (READY | {"updatedReplicas": 1}, False),
        (READY | {"availableReplicas": 1}, False),
        (READY | {"replicas": 3}, False),  # an old pod has not ended
        ({}, False),
    ],
)
def test_a_rollout_is_done_when_only_new_pods_serve(status: dict[str, int], done: bool):
    part = _rollout(deployment(status))
    assert part.done is done
    assert part.serving == status.get("availableReplicas", 0)


@pytest.mark.parametrize(
    ("observed", "ready", "upgrading", "done"),
    [(2, "True", "False", True), (1, "True", "False", False), (2, "False", "False", False), (2, "True", "True", False)],
)
def test_an_engine_is_done_when_kuberay_says_so_of_the_newest_specification(
    observed: int, ready: str, upgrading: str, done: bool
):
    conditions = [{"type": "Ready", "status": ready}, {"type": "UpgradeInProgress", "status": upgrading}]
    applications = {"moe_router": {"status": "DEPLOYING"}}
    part = _engine({
        "metadata": {"name": "engine", "generation": 2},
        "status": {
            "observedGeneration": observed,
            "conditions": conditions,
            "pendingServiceStatus": {"applicationStatuses": applications},
        },
    })  # fmt: skip
    assert part.done is done
    assert part.serving == (ready == "True")
    assert "moe_router (new): DEPLOYING" in part.note


def test_what_was_set_and_is_no_longer_goes_and_what_others_set_stays():
    container = {"name": "front", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "command": ["x"]}
    was = {"spec": {"replicas": 2, "containers": [container], "list": [1, 2]}}
    wanted = {"spec": {"containers": [{"name": "front", "env": [{"name": "B", "value": "3"}]}], "list": [2]}}
    sidecar = {"name": "injected", "env": []}
    merged = {"name": "front", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}], "command": ["x"]}
    after = {"spec": {"replicas": 2, "containers": [merged, sidecar], "list": [2], "defaulted": True}}
    _drop(after, was, wanted)
    assert after == {
        "spec": {
            "containers": [{"name": "front", "env": [{"name": "B", "value": "3"}]}, sidecar],
            "list": [2],
            "defaulted": True,
        }
    }


def test_a_secrets_change_is_told_without_its_values():
    def secret(**data: str) -> dict[str, Any]:
        return {"kind": "Secret", "metadata": {"name": "s", "resourceVersion": "1"}, "data": data}

    change = _change(secret(a="b2xk", b="c2FtZQ=="), secret(a="bmV3", b="c2FtZQ==", c="bW9yZQ=="))
    lines = [line for line in change.text.splitlines() if line[0] in "+-" and line[1] not in "+-"]
    assert lines == ["-  a: (hidden)", "+  a: (hidden; another)", "+  c: (hidden)"]
    assert _change(secret(a="eA=="), secret(a="eA==")).verb == "same"
