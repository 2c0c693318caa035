"""A promise that holds whatever the templates say is none: each is broken here, on purpose, and caught by its test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charts import test_engines as engines
from charts import test_mesh as mesh
from charts import test_promises as promises
from charts import test_references as references
from charts.network import Network, edges, pods_rendered
from charts.pod_security import violations
from charts.rendering import CHART, Combination, Object, of_kind, parsed, pods_of, render, run_helm
from charts.test_network import EVERY, OUTSIDERS, SERVE

Promise = Callable[[tuple[Object, ...]], None]
SCALED: dict[str, Any] = {"defaults__front__autoscaling__enabled": True}
LAPTOP = Combination.of("laptop", **SCALED)
MESH = Combination.of("mesh", **SCALED, transport="mesh")
MTLS = Combination.of("mtls", **SCALED, transport="mtls", mtls__issuer__name="ca")
FURTHER = Combination.of(
    "further", transport="mesh", services__your_service={"grpcService": "assay.dummy.v1.DummyService"}
)
IN_PROCESS = Combination.of("in-process", defaults__engine__placement="in-process")
WATCHED = Combination.of("watched", monitoring={"serviceMonitor": True}, networkPolicy__metricsNamespace="monitoring")


def only_fronts_reach_serve(objects: tuple[Object, ...]) -> None:
    ours = pods_rendered(objects, "assay")
    reached = edges(Network(objects, "assay"), [*ours, *OUTSIDERS], ours, EVERY)
    for (source, target), ports in reached.items():
        if target.startswith("engine") and SERVE in ports:
            service = target.split()[1]
            assert source == f"front {service}" or source.startswith(f"engine {service} ")


def every_pod_fits_the_strictest_standard(objects: tuple[Object, ...]) -> None:
    assert [violations(pod["spec"]) for _, pod in pods_of(objects) if violations(pod["spec"])] == []


def every_front_has_a_scaler(objects: tuple[Object, ...]) -> None:
    assert set(of_kind(objects, "HorizontalPodAutoscaler")) == set(of_kind(objects, "Deployment"))


# What is replaced, in which template, and which promise that breaks.
BROKEN: dict[str, tuple[str, str, str, Promise, Combination]] = {
    "no limit of memory": (
        "tests/calls.yaml",
        "limits: {memory: 256Mi}",
        "limits: {}",
        promises.test_every_container_is_confined_and_bounded,
        LAPTOP,
    ),
    "a root that can be written": (
        "_environment.tpl",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        promises.test_every_container_is_confined_and_bounded,
        LAPTOP,
    ),
    "a user that may be root": (
        "_environment.tpl",
        "runAsNonRoot: true",
        "runAsNonRoot: false",
        every_pod_fits_the_strictest_standard,
        LAPTOP,
    ),
    "capabilities kept": (
        "_environment.tpl",
        "drop: [ALL]",
        "drop: [NET_RAW]",
        every_pod_fits_the_strictest_standard,
        LAPTOP,
    ),
    "a path of the node": (
        "_ray.tpl",
        "- {name: cache, emptyDir: {sizeLimit: {{ .cacheSize }}}}",
        "- {name: cache, hostPath: {path: /var/cache}}",
        every_pod_fits_the_strictest_standard,
        LAPTOP,
    ),
    "a probe that asks the store too": (
        "front.yaml",
        "service: live}\n            periodSeconds: 10",
        "service: {{ $service.grpcService }}}\n            periodSeconds: 10",
        promises.test_every_front_has_probes_a_budget_and_a_policy,
        LAPTOP,
    ),
    "a probe at a port that demands a certificate": (
        "front.yaml",
        "grpc: {port: {{ ternary 50052 50051 $mtls }}}",
        "grpc: {port: 50051}",
        promises.test_every_front_has_probes_a_budget_and_a_policy,
        MTLS,
    ),
    "a budget for other pods": (
        "front.yaml",
        "unhealthyPodEvictionPolicy: AlwaysAllow\n  selector:\n    matchLabels:",
        "unhealthyPodEvictionPolicy: AlwaysAllow\n  selector:\n    matchLabels:\n      a: b\n    x:",
        promises.test_every_front_has_probes_a_budget_and_a_policy,
        LAPTOP,
    ),
    "a front without a policy": (
        "network.yaml",
        'name: {{ include "assay.front" $front }}\n',
        'name: {{ include "assay.front" $front }}-x\n',
        promises.test_every_front_has_probes_a_budget_and_a_policy,
        LAPTOP,
    ),
    "killed before it has drained": (
        "front.yaml",
        "add $service.front.drainSeconds $service.front.graceSeconds 10",
        "add $service.front.graceSeconds 1",
        promises.test_every_front_has_probes_a_budget_and_a_policy,
        LAPTOP,
    ),
    "a token of the API server for everyone": (
        "front.yaml",
        "serviceAccountName: {{ $front }}\n      automountServiceAccountToken: false",
        "serviceAccountName: {{ $front }}\n      automountServiceAccountToken: true",
        promises.test_only_ray_heads_get_a_token_of_the_api_server,
        LAPTOP,
    ),
    "an engine open to the namespace": (
        "network.yaml",
        '- podSelector: {matchLabels: {{ include "assay.matches" $front }}}',
        "- podSelector: {}",
        only_fronts_reach_serve,
        LAPTOP,
    ),
    "an engine open to every front": (
        "network.yaml",
        '- podSelector: {matchLabels: {{ include "assay.matches" $front }}}',
        "- podSelector: {matchLabels: {app.kubernetes.io/component: front}}\n    - ports: [{port: 9000}]",
        only_fronts_reach_serve,
        LAPTOP,
    ),
    "an engine without a token": (
        "engine.yaml",
        "authOptions: {mode: token}",
        "authOptions: {mode: disabled}",
        promises.test_only_its_own_front_reaches_an_engine,
        LAPTOP,
    ),
    "an engine that any identity may call": (
        "mesh.yaml",
        '- source: {principals: [{{ $domain }}/ns/{{ $.Release.Namespace }}/sa/{{ include "assay.front" $front }}]}',
        '- source: {principals: ["*"]}',
        promises.test_only_its_own_front_reaches_an_engine,
        MESH,
    ),
    "every method repeated": (
        "mesh.yaml",
        'retryOn: "connect-failure,refused-stream"}',
        'retryOn: "connect-failure,refused-stream,unavailable"}',
        mesh.test_only_what_may_be_repeated_is,
        FURTHER,
    ),
    "a whole service repeated": (
        "mesh.yaml",
        "- uri: {exact: /{{ $known }}/{{ . }}}",
        "- uri: {prefix: /{{ $known }}/}",
        mesh.test_only_what_may_be_repeated_is,
        FURTHER,
    ),
    "a caller that says who it is": (
        "mesh.yaml",
        "SANITIZE_SET",
        "APPEND_FORWARD",
        mesh.test_a_sidecar_replaces_what_a_caller_says_of_itself,
        FURTHER,
    ),
    "a policy that denies nothing": (
        "network.yaml",
        "policyTypes: [Ingress, Egress]\n  egress:\n    - ports: # names",
        "policyTypes: [Egress]\n  egress:\n    - ports: # names",
        promises.test_what_is_not_opened_is_denied,
        LAPTOP,
    ),
    "certificates inside a mesh": (
        "certificates.yaml",
        '(eq .Values.transport "mtls")',
        '(ne .Values.transport "plaintext")',
        promises.test_one_transport_excludes_the_others,
        MESH,
    ),
    "a test that holds the store's keys": (
        "tests/calls.yaml",
        "- {name: HOME, value: /tmp}",
        "- {name: HOME, value: /tmp}\n        - name: ASSAY_S3_ACCESS_KEY\n"
        "          valueFrom: {secretKeyRef: {name: trial-assay-store, key: accessKey}}",
        references.test_nobody_reads_a_secret_but_for_its_own_work,
        LAPTOP,
    ),
    "a token in the open": (
        "front.yaml",
        'valueFrom: {secretKeyRef: {name: {{ include "assay.token.secret" $ }}, key: token}}',
        "value: not-a-secret",
        references.test_no_secret_stands_in_the_open,
        LAPTOP,
    ),
    "another front's certificate": (
        "front.yaml",
        '(printf "%s-tls" $front)',
        '"trial-assay-moe-router-tls"',
        references.test_nobody_reads_a_secret_but_for_its_own_work,
        MTLS,
    ),
    "a secret that nobody makes": (
        "secrets.yaml",
        '{{- $name := include "assay.store.secret" . }}',
        '{{- $name := "shop" }}',
        references.test_what_pods_name_is_there,
        LAPTOP,
    ),
    "a service that selects nobody": (
        "front.yaml",
        '  selector: {{- include "assay.selector" $key | nindent 4 }}\n  ports:',
        "  selector: {app: nobody}\n  ports:",
        references.test_every_selector_selects_pods,
        LAPTOP,
    ),
    "a monitor of a port that is none": (
        "monitoring.yaml",
        "{port: metrics,",
        "{port: prometheus,",
        references.test_services_and_probes_name_ports_that_pods_have,
        WATCHED,
    ),
    "two masters of the replicas": (
        "front.yaml",
        "{{- if not $service.front.autoscaling.enabled }}\n  replicas:",
        "{{- if true }}\n  replicas:",
        references.test_fronts_scale_and_are_disrupted_as_one,
        LAPTOP,
    ),
    "a scaler of somebody else": (
        "front.yaml",
        "kind: Deployment, name: {{ $front }}}",
        "kind: Deployment, name: other}",
        references.test_fronts_scale_and_are_disrupted_as_one,
        LAPTOP,
    ),
    "a front that does not scale": (
        "front.yaml",
        "kind: HorizontalPodAutoscaler",
        "kind: PodAutoscaler",
        every_front_has_a_scaler,
        LAPTOP,
    ),
    "a budget that no drain gets past": (
        "engine.yaml",
        "minAvailable: {{ $service.engine.replicas.min }}",
        "minAvailable: {{ add $service.engine.replicas.min 1 }}",
        references.test_fronts_scale_and_are_disrupted_as_one,
        LAPTOP,
    ),
    "a spread over others": (
        "front.yaml",
        'labelSelector: {matchLabels: {{ include "assay.matches" $key }}}',
        "labelSelector: {matchLabels: {app.kubernetes.io/part-of: assay}}",
        references.test_spread_is_over_a_pod_s_own_kind,
        LAPTOP,
    ),
    "a bucket made by an image that is none": (
        "bucket.yaml",
        'ternary "front" "engine"',
        'ternary "front" "front"',
        promises.test_the_bucket_is_made_by_an_image_that_is_there,
        IN_PROCESS,
    ),
    "two replicas in a pod for one": (
        "engine.yaml",
        "cpus: {{ $cores }}",
        "cpus: {{ $wanted.cpu }}",
        engines.a_replica_fills_its_worker_pod,
        LAPTOP,
    ),
    "a variable given twice": (
        "_environment.tpl",
        "- name: ASSAY_CACHE_DIR\n  value: /cache",
        "- {name: ASSAY_CACHE_DIR, value: /a}\n- name: ASSAY_CACHE_DIR\n  value: /cache",
        references.test_keyed_lists_name_each_key_once,
        LAPTOP,
    ),
}


@pytest.mark.parametrize(("file", "right", "wrong", "promise", "combination"), BROKEN.values(), ids=BROKEN)
def test_it_is_noticed(
    helm: Path, tmp_path: Path, file: str, right: str, wrong: str, promise: Promise, combination: Combination
) -> None:
    chart = tmp_path / "assay"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / file
    text = template.read_text()
    assert right in text
    promise(render(helm, combination))  # kept while nothing is broken
    template.write_text(text.replace(right, wrong))
    ran = run_helm(helm, combination, chart)
    assert ran.returncode == 0, ran.stderr
    with pytest.raises((AssertionError, ValueError, KeyError)):
        promise(parsed(ran.stdout))
