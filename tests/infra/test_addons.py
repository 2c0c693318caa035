"""The add-ons give what the chart asks them for, and their README installs what versions.yaml names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.rendering import of_kind
from charts.schemas import Schemas

from infra.rendering import INFRA, NAMESPACE, REPOSITORY, manifests, render_release, values

FOLDER = INFRA / "addons"
VERSIONS = yaml.safe_load((FOLDER / "versions.yaml").read_text())
ADDONS: list[dict[str, str]] = VERSIONS["addons"]
OTHERS: list[dict[str, str]] = VERSIONS["others"]
README = (FOLDER / "README.md").read_text()


def values_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return found


def install(addon: dict[str, str]) -> str:
    lines = [
        f"helm upgrade --install {addon['name']} {addon['chart']} --version {addon['version']} \\",
        f"  --repo {addon['repository']} \\",
        f"  --namespace {addon['namespace']} --create-namespace",
    ]
    if "values" in addon:
        lines[-1] += f" --values infra/addons/{addon['values']}"
    return "\n".join(lines)


def test_the_readme_installs_these_versions_in_this_order() -> None:
    found = re.findall(r"helm upgrade --install \S+ (?!charts/).*\\\n.*\\\n.*", README)
    assert found == [install(addon) for addon in ADDONS]


def test_the_readme_says_what_each_is_for_and_whether_it_was_tried() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    wanted = [f"| {a['name']} | {a['version']} | {a['namespace']} | {a['for']} | {a['tried']} |" for a in ADDONS]
    besides = [f"| {a['name']} | {a['version']} | {a['for']} | {a['tried']} |" for a in OTHERS]
    assert [row for row in rows if row.split("|")[2].strip() != "version"] == wanted + besides


def test_the_readme_says_which_crds_the_chart_is_held_against() -> None:
    """They are those of a package's release, which is behind the add-on's where it says so."""
    described = json.loads((REPOSITORY / "tests/charts/package.json").read_text())["description"]
    held = dict(re.findall(r"(Istio|cert-manager|Prometheus operator) (\d[\d.]+\d)", described))
    assert len(held) == 3
    told = README.partition("## Custom resources")[2].partition("##")[0]
    for name, version in held.items():
        assert f"{name} {version}" in told
    for addon in ("istiod", "cert-manager", "monitoring"):
        (installed,) = [each["version"] for each in ADDONS if each["name"] == addon]
        assert f" {installed.removeprefix('v')}" in told


def test_every_values_file_is_of_an_add_on() -> None:
    named = {addon["values"] for addon in ADDONS if "values" in addon}
    others = {"versions.yaml", "assay-values.yaml", "issuer.yaml", "redis.yaml"}
    assert named | others == {path.name for path in FOLDER.glob("*.yaml")}


@pytest.fixture(scope="module")
def chart(helm: Path) -> tuple[dict[str, Any], ...]:
    return render_release(helm, *values("gpu", "ha", "infra/addons/assay-values.yaml"))


def namespace_of(name: str) -> str:
    (addon,) = [addon for addon in ADDONS if addon["name"] == name]
    return addon["namespace"]


def test_the_operator_watches_the_release_and_may_reach_it(chart: tuple[dict[str, Any], ...]) -> None:
    assert NAMESPACE in values_of("kuberay-operator")["watchNamespace"]
    for name in of_kind(chart, "RayService"):
        opened = of_kind(chart, "NetworkPolicy")[name]["spec"]["ingress"]
        (source,) = [rule["from"][0] for rule in opened if {"protocol": "TCP", "port": 8265} in rule.get("ports", [])]
        labels = source["namespaceSelector"]["matchLabels"]
        assert labels == {"kubernetes.io/metadata.name": namespace_of("kuberay-operator")}


def test_traces_go_to_the_collector(chart: tuple[dict[str, Any], ...]) -> None:
    collector = values_of("collector")
    port = collector["ports"]["otlp"]["servicePort"]
    address = f"http://{collector['fullnameOverride']}.{namespace_of('collector')}:{port}"
    for front in of_kind(chart, "Deployment").values():
        (container,) = front["spec"]["template"]["spec"]["containers"]
        assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": address} in container["env"]
    open_ports = [rule["ports"] for rule in of_kind(chart, "NetworkPolicy")["assay-deny"]["spec"]["egress"]]
    assert [{"protocol": "TCP", "port": port}] in open_ports


def test_prometheus_may_read_metrics(chart: tuple[dict[str, Any], ...]) -> None:
    for name in of_kind(chart, "Deployment"):
        opened = of_kind(chart, "NetworkPolicy")[name]["spec"]["ingress"]
        (source,) = [rule["from"] for rule in opened if rule["ports"] == [{"protocol": "TCP", "port": 9464}]]
        wanted = {"kubernetes.io/metadata.name": namespace_of("monitoring")}
        assert source == [{"namespaceSelector": {"matchLabels": wanted}}]
    sidecar = values_of("monitoring")["grafana"]["sidecar"]["dashboards"]
    assert sidecar["label"] in of_kind(chart, "ConfigMap")["assay-dashboard"]["metadata"]["labels"]


def test_ray_heads_find_their_redis(chart: tuple[dict[str, Any], ...]) -> None:
    redis = list(manifests(FOLDER / "redis.yaml"))
    service, stateful = of_kind(redis, "Service")["redis"], of_kind(redis, "StatefulSet")["redis"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}:{service['spec']['ports'][0]['port']}"
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert [container["image"]] == [f"redis:{other['version']}" for other in OTHERS if other["name"] == "Redis"]
    for engine in of_kind(chart, "RayService").values():
        options = engine["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        assert options["redisAddress"] == address
        assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == secret
    assert service["spec"]["selector"] == stateful["spec"]["template"]["metadata"]["labels"]
    (opened,) = of_kind(redis, "NetworkPolicy")["redis"]["spec"]["ingress"]
    assert opened["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}]


def test_the_issuer_is_the_one_that_the_chart_names(chart: tuple[dict[str, Any], ...]) -> None:
    issuers = of_kind(list(manifests(FOLDER / "issuer.yaml")), "ClusterIssuer")
    fronts = of_kind(chart, "Certificate").values()
    assert fronts
    assert {front["spec"]["issuerRef"]["name"] for front in fronts} <= set(issuers)
    assert {front["spec"]["issuerRef"]["kind"] for front in fronts} == {"ClusterIssuer"}
    caller = of_kind(list(manifests(FOLDER / "issuer.yaml")), "Certificate")["caller-notebook"]
    assert len(caller["spec"]["uris"]) == 1  # a front takes no other


def test_the_mesh_is_the_one_that_the_chart_expects() -> None:
    mesh = yaml.safe_load((REPOSITORY / "charts/assay/values.yaml").read_text())["mesh"]
    assert values_of("istiod")["meshConfig"]["trustDomain"] == mesh["trustDomain"]
    assert namespace_of("istiod") == mesh["controlNamespace"]  # where sidecars may go for their configuration


def test_ray_s_own_traffic_stays_outside_of_the_mesh(helm: Path) -> None:
    mesh = (*values("gpu"), "--set", "transport=mesh", "--set-json", "mtls=null")
    for engine in of_kind(render_release(helm, *mesh), "RayService").values():
        cluster = engine["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            kept = group["template"]["metadata"]["annotations"]
            inbound = kept["traffic.sidecar.istio.io/includeInboundPorts"].split(",")
            outside = kept["traffic.sidecar.istio.io/excludeOutboundPorts"].split(",")
            (container,) = group["template"]["spec"]["containers"]
            ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
            assert inbound == [ports.pop("serve-grpc")]
            assert set(ports.values()) <= set(outside)  # the head's: gcs-server, dashboard, client


@pytest.mark.parametrize("file", ["issuer.yaml", "redis.yaml"])
def test_manifests_are_valid(schemas: Schemas, file: str) -> None:
    faults = {found["kind"]: schemas.faults(found) for found in manifests(FOLDER / file)}
    assert {kind: found for kind, found in faults.items() if found} == {}
