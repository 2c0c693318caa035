"""Linkerd's policies select the pods, ports and accounts that the chart makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from charts.rendering import Object, of_kind
from charts.schemas import Schemas

from infra.rendering import INFRA, NAMESPACE, manifests, render_release, values

FOLDER = INFRA / "linkerd"
POLICY = list(manifests(FOLDER / "policy.yaml"))


@pytest.fixture(scope="module")
def chart(helm: Path) -> tuple[Object, ...]:
    return render_release(helm, *values("gpu", "infra/linkerd/values.yaml"))


def pods(objects: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """(name of what makes them, template)."""
    for name, front in of_kind(objects, "Deployment").items():
        yield name, front["spec"]["template"]
    for name, engine in of_kind(objects, "RayService").items():
        cluster = engine["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            yield name, group["template"]


def accounts_that_reach(server: str) -> list[set[str]]:
    """For each way in, the ServiceAccounts of this namespace; "*" for anyone."""
    routes = {
        name
        for name, route in of_kind(POLICY, "HTTPRoute").items()
        if route["spec"]["parentRefs"] == [{"group": "policy.linkerd.io", "kind": "Server", "name": server}]
    }
    ways = []
    for policy in of_kind(POLICY, "AuthorizationPolicy").values():
        target = policy["spec"]["targetRef"]
        if (target["kind"], target["name"]) not in {("Server", server)} | {("HTTPRoute", route) for route in routes}:
            continue
        (wanted,) = policy["spec"]["requiredAuthenticationRefs"]
        found = of_kind(POLICY, wanted["kind"])[wanted["name"]]
        accounts = found["spec"].get("identityRefs", [{"name": "*"}])
        ways.append({each["name"] for each in accounts if each.get("namespace", NAMESPACE) == NAMESPACE})
    return ways


def test_every_port_of_the_mesh_has_one_server(chart: tuple[Object, ...]) -> None:
    servers = of_kind(POLICY, "Server")
    for name, template in pods(chart):
        selecting = [
            (server, found["spec"]["port"])
            for server, found in servers.items()
            if found["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        ]
        assert selecting == [(name, 9000) if name.endswith("-engine") else ("assay-fronts", 50051)]
        (container,) = template["spec"]["containers"]
        assert selecting[0][1] in {port["containerPort"] for port in container["ports"]}


def test_only_its_own_front_reaches_an_engine(chart: tuple[Object, ...]) -> None:
    for name in of_kind(chart, "RayService"):
        front = of_kind(chart, "Deployment")[name.removesuffix("-engine")]
        assert accounts_that_reach(name) == [{front["spec"]["template"]["spec"]["serviceAccountName"]}]


def test_fronts_are_reached_by_fronts_and_their_health_by_anyone(chart: tuple[Object, ...]) -> None:
    fronts = {
        front["spec"]["template"]["spec"]["serviceAccountName"] for front in of_kind(chart, "Deployment").values()
    }
    assert sorted(accounts_that_reach("assay-fronts"), key=len) == [{"*"}, fronts]
    (health,) = of_kind(POLICY, "HTTPRoute")["assay-fronts-health"]["spec"]["rules"]
    assert health["matches"][0]["path"]["value"] == "/grpc.health.v1.Health"


def test_no_other_port_goes_through_the_mesh() -> None:
    (namespace,) = manifests(FOLDER / "namespace.yaml")
    kept = namespace["metadata"]["annotations"]
    assert namespace["metadata"]["name"] == NAMESPACE
    for side in ("inbound", "outbound"):
        ranges = [each.split("-") for each in kept[f"config.linkerd.io/skip-{side}-ports"].split(",")]
        skipped = {port for low, high in ranges for port in range(int(low), int(high) + 1)}
        assert set(range(1, 65536)) - skipped == {found["spec"]["port"] for found in of_kind(POLICY, "Server").values()}


def test_the_front_is_told_of_no_mesh(chart: tuple[Object, ...]) -> None:
    for front in of_kind(chart, "Deployment").values():
        (container,) = front["spec"]["template"]["spec"]["containers"]
        assert {"name": "ASSAY_TRANSPORT", "value": "plaintext"} in container["env"]


def test_sidecars_may_reach_their_control_plane(schemas: Schemas) -> None:
    (policy,) = manifests(FOLDER / "network.yaml")
    assert schemas.faults(policy) == []


def test_the_readme_installs_the_version_that_is_named() -> None:
    named = yaml.safe_load((INFRA / "addons/versions.yaml").read_text())["linkerd"]
    lines = [line for line in (FOLDER / "README.md").read_text().splitlines() if "--version" in line]
    assert len(lines) == 2
    for line in lines:
        assert f"--version {named['version']} --repo {named['repository']}" in line
