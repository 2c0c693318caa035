"""Validation that would let a mistake through proves nothing: each of these is put into the templates and is caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from charts.rendering import CHART, Combination, render, run_helm
from charts.schemas import Schemas

MISTAKES = {
    "a probe's field misspelt": ("front.yaml", "failureThreshold: 60", "failureThreshhold: 60"),
    "replicas as text": ("front.yaml", "minReplicas: {{ $service.front.replicas }}", "minReplicas: many"),
    "a port without its number": ("front.yaml", "{name: grpc, containerPort: 50051}", "{name: grpc}"),
    "a field of another kind": ("front.yaml", "unhealthyPodEvictionPolicy: AlwaysAllow", "evictionPolicy: AlwaysAllow"),
    "a field one level too high": ("front.yaml", "strategy:\n    rollingUpdate:", "rollingUpdate:\n    strategy:"),
    "an API that is gone": ("front.yaml", "policy/v1", "policy/v1beta1"),
    "KubeRay: maxReplica": ("engine.yaml", "maxReplicas:", "maxReplica:"),
    "KubeRay: no head": ("engine.yaml", "headGroupSpec:", "headSpec:"),
    "KubeRay: a mode of authentication that is none": ("engine.yaml", "{mode: token}", "{mode: tokens}"),
    "KubeRay: a worker's container misspelt": ("engine.yaml", "imagePullPolicy: {{ $.", "pullPolicy: {{ $."),
    "a policy for a protocol that is none": ("network.yaml", "{protocol: UDP, port: 53}", "{protocol: UDP, ports: 53}"),
    "a job's limit misspelt": ("bucket.yaml", "backoffLimit", "backOffLimit"),
    "a volume's size in the wrong place": ("minio.yaml", "resources: {requests: {storage:", "resources: {storage: {x:"),
    "a security context's capability": (
        "_environment.tpl",
        "capabilities: {drop: [ALL]}",
        "capabilities: {dropped: [ALL]}",
    ),
    "tests that Helm cannot parse": ("tests/calls.yaml", "restartPolicy: Never", "restartPolicy: {Never"),
}


@pytest.mark.parametrize(("file", "right", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_caught(helm: Path, schemas: Schemas, tmp_path: Path, file: str, right: str, wrong: str) -> None:
    chart = tmp_path / "assay"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / file
    text = template.read_text()
    assert right in text
    template.write_text(text.replace(right, wrong))
    combination = Combination.of(
        "as on a volume", minio__storageClass="fast", defaults__front__autoscaling__enabled=True
    )
    if run_helm(helm, combination, chart).returncode == 0:
        assert any(schemas.faults(found) for found in render(helm, combination, chart))
