"""Validation that would let a mistake through proves nothing: each of these is put into the templates and is caught."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from charts.rendering import CHART, Combination, parsed, render, run_helm
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
    "Istio: a mode of TLS that is none": ("mesh.yaml", "mode: STRICT", "mode: MANDATORY"),
    "Istio: peers' authentication for a port misspelt": ("mesh.yaml", "  mtls: {mode", "  portLevelMTLS: {mode"),
    "Istio: a traffic policy one level too high": ("mesh.yaml", "  trafficPolicy:\n    tls:", "  tls:"),
    "Istio: an outlier's number as text": ("mesh.yaml", "consecutiveGatewayErrors: 5", "consecutiveGatewayErrors: few"),
    "Istio: a duration without unit": ("mesh.yaml", "baseEjectionTime: 30s", "baseEjectionTime: 30"),
    "Istio: a rule's caller misspelt": ("mesh.yaml", "            principals:", "            principal:"),
    "Istio: a path where a list belongs": ("mesh.yaml", "{paths: [/grpc.health", "{path: [/grpc.health"),
    "Istio: an action that is none": ("mesh.yaml", "action: ALLOW", "action: PERMIT"),
    "Istio: a route's port as a number": ("mesh.yaml", "port: {number: 50051}", "port: 50051"),
    "Istio: retries misspelt": ("mesh.yaml", "retryOn:", "retriesOn:"),
    "Istio: a filter's context that is none": ("mesh.yaml", "SIDECAR_INBOUND", "SIDECAR_IN"),
    "Istio: a filter's operation that is none": ("mesh.yaml", "operation: MERGE", "operation: JOIN"),
    "Istio: an API that is none": ("mesh.yaml", "security.istio.io/v1\n", "security.istio.io/v2\n"),
    "cert-manager: no issuer": ("certificates.yaml", "issuerRef:", "issuer:"),
    "cert-manager: an issuer without a name": ("certificates.yaml", "issuerRef: {name:", "issuerRef: {names:"),
    "cert-manager: a use that is none": ("certificates.yaml", "server auth", "server-auth"),
    "cert-manager: an algorithm that is none": ("certificates.yaml", "algorithm: ECDSA", "algorithm: EC"),
    "cert-manager: names misspelt": ("certificates.yaml", "  uris:", "  uriSANs:"),
    "Prometheus: an endpoint's interval without unit": ("monitoring.yaml", "interval: 15s", 'interval: "15"'),
    "Prometheus: an endpoint's port misspelt": ("monitoring.yaml", "{port: metrics", "{ports: metrics"),
    "Prometheus: a monitor of pods misspelt": ("monitoring.yaml", "podMetricsEndpoints:", "podEndpoints:"),
    "Prometheus: an alert without expression": ("monitoring.yaml", "expr: min by", "query: min by"),
    "Prometheus: an alert's labels misspelt": ("monitoring.yaml", "labels: {severity", "label: {severity"),
    "Prometheus: a selector that is none": (
        "monitoring.yaml",
        "  selector:\n    matchLabels",
        "  selector:\n    labels",
    ),
    "Gateway API: a method misspelt": ("gateway.yaml", "method: {service:", "methods: {service:"),
    "Gateway API: a back end's port out of range": ("gateway.yaml", "port: 50051", "port: 650051"),
    "Gateway API: parents misspelt": ("gateway.yaml", "parentRefs:", "parentRef:"),
    "Gateway API: a parent without a name": (
        "gateway.yaml",
        "- name: {{ .Values.gateway",
        "- kind: {{ .Values.gateway",
    ),
    "tests that Helm cannot parse": ("tests/calls.yaml", "restartPolicy: Never", "restartPolicy: {Never"),
}
# Where every template renders something; certificates exclude a mesh and a gateway.
OPTIONS: dict[str, Any] = {
    "minio__storageClass": "fast",
    "defaults__front__autoscaling__enabled": True,
    "monitoring": {"serviceMonitor": True, "alerts": True, "dashboard": True, "labels": {}},
    "networkPolicy__metricsNamespace": "monitoring",
}
GATEWAY: dict[str, Any] = {
    "gateway__enabled": True,
    "gateway__parent": {"name": "public"},
    "gateway__hostnames": ["assay.example.org"],
}
WIDE = Combination.of("wide", **OPTIONS, transport="mtls", mtls__issuer__name="ca")
MESH = Combination.of("mesh", **OPTIONS, **GATEWAY, transport="mesh")


@pytest.mark.parametrize("combination", [WIDE, MESH], ids=lambda each: each.name)
def test_without_a_mistake_nothing_is_caught(helm: Path, schemas: Schemas, combination: Combination) -> None:
    assert [schemas.faults(found) for found in render(helm, combination) if schemas.faults(found)] == []


@pytest.mark.parametrize(("file", "right", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_caught(helm: Path, schemas: Schemas, tmp_path: Path, file: str, right: str, wrong: str) -> None:
    chart = tmp_path / "assay"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / file
    text = template.read_text()
    assert right in text
    template.write_text(text.replace(right, wrong))
    combination = MESH if file in ("mesh.yaml", "gateway.yaml") else WIDE
    ran = run_helm(helm, combination, chart)
    if ran.returncode == 0:
        assert any(schemas.faults(found) for found in parsed(ran.stdout))
