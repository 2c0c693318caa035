"""The connections that the chart's policies leave open, all of them, computed as a network plugin would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charts.matrix import combinations
from charts.network import Endpoint, Network, edges, pod, pods_rendered
from charts.rendering import Combination, Object, of_kind, render

GRPC, HEALTH, METRICS, SERVE, DASHBOARD, HTTP = 50051, 50052, 9464, 9000, 8265, 8000
RAY_METRICS, DNS, STORE, API_SERVER, REDIS, TRACES, ISTIOD, ANY = 8080, 53, 443, 6443, 6379, 4317, 15012, 31337
EVERY = {
    *(GRPC, HEALTH, METRICS, SERVE, DASHBOARD, HTTP, RAY_METRICS),
    *(DNS, STORE, API_SERVER, REDIS, TRACES, ISTIOD, ANY),
}
OUTSIDERS = [
    pod("stranger beside", "assay"),
    pod("stranger", "elsewhere"),
    pod("caller", "evaluation", team="evaluation"),
    pod("prometheus", "monitoring"),
    pod("operator", "kuberay-operator"),
    pod("dns", "kube-system", {"k8s-app": "kube-dns"}),
    pod("istiod", "istio-system", {"app": "istiod"}),
    pod("collector", "telemetry"),
    pod("redis", "assay-redis"),
    Endpoint("outside", address="198.51.100.7"),
    Endpoint("API server", address="203.0.113.9"),
]
OPENED: dict[str, Any] = {
    "networkPolicy__callers": [{"team": "evaluation"}],
    "networkPolicy__metricsNamespace": "monitoring",
}


def graph(objects: tuple[Object, ...]) -> dict[tuple[str, str], set[int]]:
    """Of the release's pods among each other, from outsiders to them and from them to outsiders."""
    ours = pods_rendered(objects, "assay")
    network = Network(objects, "assay")
    inward = edges(network, [*ours, *OUTSIDERS], ours, EVERY)
    return inward | edges(network, ours, OUTSIDERS, EVERY)


def between(sources: list[str], targets: list[str], *ports: int) -> dict[tuple[str, str], set[int]]:
    return {(source, target): set(ports) for source in sources for target in targets}


def names(part: str, *services: str) -> list[str]:
    return [f"{part} {service}" for service in services]


def test_a_trial_opens_exactly_this(helm: Path) -> None:
    services = ("moe-router", "tom-verifier")
    fronts, tests = names("front", *services), names("test", *services)
    heads = [f"engine {each} head" for each in services]
    workers = [f"engine {each} worker" for each in services]
    everyone = [*fronts, *heads, *workers, *tests, "hook bucket", "store minio"]
    assert graph(render(helm, Combination.of("laptop", **OPENED))) == {
        **between([*fronts, *tests, "caller"], fronts, GRPC),
        **between(["prometheus"], fronts, METRICS),
        **between(["front moe-router"], ["engine moe-router head", "engine moe-router worker"], SERVE),
        **between(["front tom-verifier"], ["engine tom-verifier head", "engine tom-verifier worker"], SERVE),
        **between(["operator"], [*heads, *workers], DASHBOARD, HTTP),
        **{
            pair: EVERY
            for each in services
            for cluster in [[f"engine {each} head", f"engine {each} worker"]]
            for pair in between(cluster, cluster)
        },
        **between(everyone, ["store minio"], SERVE),  # MinIO's port has Serve's number
        **between(everyone, ["dns"], DNS),
        **between(heads, [each.name for each in OUTSIDERS if each.name != "dns"], API_SERVER),
        **between(heads, ["dns"], DNS, API_SERVER),
    }


def test_gpus_high_availability_and_traces_open_exactly_this_outwards(helm: Path) -> None:
    named = {
        "telemetry__otlpEndpoint": "http://collector.telemetry:4317",
        "networkPolicy__storeCidr": "198.51.100.0/24",
        "networkPolicy__otlpNamespace": "telemetry",
        "networkPolicy__redisNamespace": "assay-redis",
        "networkPolicy__apiServerCidr": "203.0.113.9/32",
    }
    apart = render(helm, Combination.of("ha", ("gpu", "ha"), **OPENED, **named))
    found = graph(apart)
    services = ("inference-optimizer", "moe-router", "tom-verifier")
    heads, workers = ([f"engine {each} {node}" for each in services] for node in ("head", "worker"))
    everyone = [*names("front", *services), *names("test", *services), *heads, *workers]
    outside = {each.name for each in OUTSIDERS}
    assert {pair: ports for pair, ports in found.items() if pair[1] in outside} == {
        **between(everyone, ["dns"], DNS),
        **between(everyone, ["outside"], STORE),
        **between(everyone, ["collector"], TRACES),
        **between([*heads, *workers], ["redis"], REDIS),
        **between(heads, ["API server"], API_SERVER),
    }
    serve = {pair for pair, ports in found.items() if SERVE in ports and not pair[0].startswith("engine")}
    assert serve == {(f"front {each}", f"engine {each} {node}") for each in services for node in ("head", "worker")}
    watched = {pair for pair, ports in found.items() if RAY_METRICS in ports and not pair[0].startswith("engine")}
    assert watched == {("prometheus", each) for each in [*heads, *workers]}


def test_what_is_not_named_is_open_on_its_port_alone(helm: Path) -> None:
    sets = {"telemetry__otlpEndpoint": "http://collector.telemetry:4317", "networkPolicy__redisNamespace": ""}
    apart = render(helm, Combination.of("ha", ("gpu", "ha"), **OPENED, **sets))
    found = graph(apart)
    for endpoint in pods_rendered(apart, "assay"):
        engine, head = endpoint.name.startswith("engine"), endpoint.name.endswith("head")
        wanted = {STORE, TRACES, *([REDIS] if engine else []), *([API_SERVER] if head else [])}
        assert found[endpoint.name, "stranger"] == found[endpoint.name, "outside"] == wanted


def test_in_a_mesh_sidecars_reach_istiod_and_nothing_else_does(helm: Path) -> None:
    plain = graph(render(helm, Combination.of("plain", **OPENED)))
    meshed = graph(render(helm, Combination.of("mesh", **OPENED, transport="mesh")))
    more = {pair: ports - plain.get(pair, set()) for pair, ports in meshed.items()}
    ours = {source for source, _ in meshed} - {each.name for each in OUTSIDERS}
    assert {pair: ports for pair, ports in more.items() if ports} == between(sorted(ours), ["istiod"], ISTIOD)
    assert all(ports <= meshed[pair] for pair, ports in plain.items())


@pytest.mark.parametrize("combination", combinations(), ids=lambda each: each.name)
def test_nobody_unknown_reaches_anything(helm: Path, combination: Combination) -> None:
    objects = render(helm, combination)
    ours = pods_rendered(objects, "assay")
    found = edges(
        Network(objects, "assay"), [each for each in OUTSIDERS if each.name.startswith("stranger")], ours, EVERY
    )
    open_to_all = between(["stranger beside", "stranger"], [each.name for each in ours], *EVERY)
    assert found == ({} if of_kind(objects, "NetworkPolicy") else open_to_all)
