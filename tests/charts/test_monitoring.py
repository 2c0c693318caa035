"""Alerts and dashboard ask for what is there: every expression is PromQL, over metrics and labels that exist."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
from conftest import free_port
from grpc_health.v1 import health_pb2, health_pb2_grpc
from probe.service_process import ServiceProcess
from prometheus_client.parser import text_string_to_metric_families

from charts.rendering import CHART, Combination, Object, of_kind, render

# What Prometheus' operator adds to each target, beside the ServiceMonitor's targetLabels.
TARGET = {"namespace", "service", "pod", "container", "endpoint", "job", "instance"}
# Of NVIDIA's exporter, with the labels by which it names the pod that has the GPU; not at hand here.
DCGM = {"DCGM_FI_DEV_GPU_UTIL": {"gpu", "UUID", "modelName", "Hostname", "namespace", "pod", "container"}}
# Of Ray Serve, by what a Ray 2.60 in the chart's mode exported, less what says which process it was.
RAY = {
    "ray_serve_deployment_replica_healthy": {"application", "deployment", "replica"},
    "ray_serve_replica_processing_queries": {"application", "deployment", "replica"},
}
# Stand for any value in a dashboard.
VARIABLES = {"$namespace": "any", "$service": "any"}


@dataclass(frozen=True)
class Asked:
    """An expression, and the labels that the text beside it, a summary or a legend, takes from its result."""

    name: str
    expression: str
    told: frozenset[str]


@pytest.fixture(scope="module")
def objects(helm: Path) -> tuple[Object, ...]:
    monitoring = {"serviceMonitor": True, "alerts": True, "dashboard": True}
    return render(helm, Combination.of("monitoring", ("gpu",), monitoring=monitoring))


@pytest.fixture(scope="module")
def exported(objects: tuple[Object, ...], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """Labels by metric: of a front that was started and called, as its ServiceMonitor's targets carry them."""
    store, port = (tmp_path_factory.mktemp("metrics") / "store").as_uri(), free_port()
    front = ServiceProcess("tom_verifier", store, environment={"ASSAY_METRICS_PORT": str(port)})
    try:
        with grpc.insecure_channel(front.address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
            text = reply.read().decode()
    finally:
        front.stop()
    (monitor,) = of_kind(objects, "ServiceMonitor").values()
    added = TARGET | {sanitized(label) for label in monitor["spec"]["targetLabels"]}
    found = {
        sample.name: set(sample.labels) | added
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    (engines,) = of_kind(objects, "PodMonitor").values()
    added = TARGET - {"service"} | {sanitized(label) for label in engines["spec"]["podTargetLabels"]}
    return found | DCGM | {name: labels | added for name, labels in RAY.items()}


def sanitized(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


def alerts(objects: Sequence[Object]) -> Iterator[Object]:
    for rule in of_kind(objects, "PrometheusRule").values():
        for group in rule["spec"]["groups"]:
            yield from group["rules"]


def dashboard(objects: Sequence[Object]) -> Any:
    (found,) = (each for name, each in of_kind(objects, "ConfigMap").items() if name.endswith("-dashboard"))
    return json.loads(found["data"]["assay.json"])


def asked(objects: Sequence[Object]) -> Iterator[Asked]:
    for alert in alerts(objects):
        told = re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])
        yield Asked(alert["alert"], alert["expr"], frozenset(told))
    for panel in dashboard(objects)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield Asked(panel["title"], expression, frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])))


def nodes(expression: str) -> list[Any]:
    """All parts of an expression; ValueError where it is none."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def faults(each: Asked, exported: Mapping[str, set[str]]) -> list[str]:
    """What is asked of metrics or labels that do not exist, or told of labels that the result has not."""
    try:
        parts = nodes(each.expression)
    except ValueError as error:
        return [f"is no PromQL: {error}"]
    selectors = [part for part in parts if isinstance(part, promql_parser.VectorSelector)]
    unknown = {part.name for part in selectors} - set(exported)
    if unknown or not selectors:
        return [f"asks for {name}, which nothing exports" for name in sorted(unknown)] or ["asks for nothing"]
    has = set.intersection(*(exported[part.name] for part in selectors))
    named = {matcher.name for part in selectors for matcher in part.matchers.matchers}
    grouped = [
        set(part.modifier.labels)
        for part in parts
        if isinstance(part, promql_parser.AggregateExpr)
        and part.modifier is not None
        and part.modifier.type == promql_parser.AggModifierType.By
    ]
    kept = set.union(*grouped) if grouped else has
    asks_for = (named | kept) - has
    return [f"names the label {label}, which it has not" for label in sorted(asks_for | (each.told - kept))]


def test_everything_asked_for_exists(objects: tuple[Object, ...], exported: Mapping[str, set[str]]) -> None:
    found = list(asked(objects))
    assert len(found) >= 14
    assert {each.name: faults(each, exported) for each in found if faults(each, exported)} == {}


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("sum(rate(grpc_server_handled_total{namespace='a'}[5m])", ()),
        ("rate(grpc_server_handled_total[five])", ()),
        ("sum by (namespace) (rate(grpc_server_handled[5m]))", ()),
        ("sum by (namespace) (rate(grpc_server_handled_total{code='OK'}[5m]))", ()),
        ("sum by (code) (rate(grpc_server_handled_total[5m]))", ()),
        ("sum by (namespace) (rate(grpc_server_handled_total[5m]))", ("grpc_service",)),
        ("rate(grpc_server_started_total{grpc_code='OK'}[5m])", ()),
        ("1 > 0", ()),
    ],
)
def test_a_mistake_is_caught(exported: Mapping[str, set[str]], expression: str, told: tuple[str, ...]) -> None:
    assert faults(Asked("wrong", expression, frozenset(told)), exported)


def test_ray_s_metrics_are_ones_that_this_ray_makes() -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    sources = [path.read_text() for path in (Path(ray.__file__).parent / "serve/_private").glob("*.py")]
    for name in RAY:
        assert any(f'"{name.removeprefix("ray_")}"' in source for source in sources)


def test_engines_are_full_when_their_most_replicas_have_what_they_aim_at(objects: tuple[Object, ...]) -> None:
    (full,) = (alert["expr"] for alert in alerts(objects) if alert["alert"] == "AssayEnginesFull")
    bounds = dict(re.findall(r'application="(\w+)"}\) > (\d+)', full))
    # inference-optimizer: 16 answers share a replica, of which there are 8 at most.
    assert bounds == {"inference_optimizer": "128", "moe_router": "4", "tom_verifier": "2"}
    assert len(re.findall(r"\bor\b", full)) == 2


def test_codes_and_types_are_ones_that_fronts_count(objects: tuple[Object, ...]) -> None:
    known = {
        "grpc_code": {code.name for code in grpc.StatusCode},
        "grpc_type": {"unary", "client_stream", "server_stream", "bidi_stream"},
    }
    seen = {label: set[str]() for label in known}
    for each in asked(objects):
        for part in nodes(each.expression):
            for matcher in part.matchers.matchers if isinstance(part, promql_parser.VectorSelector) else ():
                if matcher.name in known:
                    seen[matcher.name].update(matcher.value.split("|"))
    assert all(seen[label] and seen[label] <= known[label] for label in known)
    # A caller's own mistakes raise no alert.
    (errors,) = (alert["expr"] for alert in alerts(objects) if alert["alert"] == "AssayErrors")
    for code in ("INVALID_ARGUMENT", "NOT_FOUND", "CANCELLED", "PERMISSION_DENIED", "UNAUTHENTICATED", "ABORTED"):
        assert code not in errors


def test_every_alert_waits_is_rated_and_says_what_it_is(objects: tuple[Object, ...]) -> None:
    found = list(alerts(objects))
    assert len({alert["alert"] for alert in found}) == len(found) >= 5
    for alert in found:
        assert promql_parser.parse_duration(alert["for"]).total_seconds() >= 300
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"].endswith(".")


def test_alerts_and_dashboard_are_about_this_release_alone(objects: tuple[Object, ...]) -> None:
    for alert in alerts(objects):
        for part in nodes(alert["expr"]):
            if isinstance(part, promql_parser.VectorSelector):
                matchers = {each.name: each.value for each in part.matchers.matchers}
                assert matchers["namespace"] == "assay"
                assert "trial" in (matchers.get("app_kubernetes_io_instance") or matchers["pod"])


def test_the_dashboard_is_one_that_grafana_draws(objects: tuple[Object, ...], exported: Mapping[str, set[str]]) -> None:
    found = dashboard(objects)
    assert found == json.loads((CHART / "files/dashboard.json").read_text())
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)  # no panel hides another
    assert max(x for x, _ in cells) < 24
    variables = {each["name"]: each for each in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(found)))
    assert used == set(variables)
    for name in ("namespace", "service"):
        ((metric, label),) = re.findall(r"^label_values\((\w+)[^,]*, (\w+)\)$", variables[name]["query"])
        assert label in exported[metric]
