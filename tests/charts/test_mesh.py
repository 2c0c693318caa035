"""What a mesh lets through, as fronts serve it, and what it repeats, as the protos allow it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from assay.server.front import HELPERS
from charts.rendering import CHART, REPOSITORY, Combination, Object, of_kind, render

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
# Whose second call does, or finds, something else than the first: a session read on, a label or plan that has moved.
# What a step of an engine does is the step's own; only a front calls it, and no mesh repeats it.
NOT_TO_BE_REPEATED = {
    "assay.artifacts.v1.ArtifactService": {"SetLabel"},
    "assay.engine.v1.EngineService": {"RunStep", "StreamStep"},
    "assay.inference_optimizer.v1.InferenceOptimizerService": {"Prefill", "Decode", "CloseSession"},
    "assay.moe_router.v1.MoeRouterService": {"RevertPlan"},
}
# Envoy's names for "no front has seen the call", and for "a front may have, and the caller has no answer".
UNSEEN = {"connect-failure", "refused-stream"}
UNANSWERED = UNSEEN | {"reset", "unavailable"}


@pytest.fixture(scope="module")
def objects(helm: Path) -> tuple[Object, ...]:
    service = {"grpcService": "assay.dummy.v1.DummyService", "engine": {"ongoing": 2}}
    return render(helm, Combination.of("mesh", transport="mesh", services__your_service=service))


def services() -> Iterator[ServiceDescriptor]:
    """Of all protos that are generated here, and Google's operations."""
    shared = REPOSITORY / "shared"
    for file in sorted(shared.glob("assay/*/v1/*_pb2.py")):
        module = importlib.import_module(".".join(file.relative_to(shared).with_suffix("").parts))
        yield from module.DESCRIPTOR.services_by_name.values()
    yield operations_pb2.DESCRIPTOR.services_by_name["Operations"]


def says_how_often(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN)


def unary(methods: Iterable[MethodDescriptor]) -> set[str]:
    return {each.name for each in methods if not (each.client_streaming or each.server_streaming)}


def test_every_method_says_whether_it_may_be_repeated_or_is_known_not_to() -> None:
    for service in services():
        silent = {each.name for each in service.methods if not says_how_often(each)}
        if service.full_name != "google.longrunning.Operations":
            assert silent == NOT_TO_BE_REPEATED.get(service.full_name, set())


def test_the_chart_s_list_is_what_the_installed_protos_say() -> None:
    said = {
        service.full_name: unary(each for each in service.methods if says_how_often(each)) for service in services()
    }
    said["google.longrunning.Operations"] = {"GetOperation", "ListOperations"}  # Google's own: GETs of HTTP
    listed = json.loads((CHART / "files/idempotent.json").read_text())
    assert {name: set(methods) for name, methods in listed.items()} == {
        name: each for name, each in said.items() if each
    }


def test_only_what_may_be_repeated_is(objects: tuple[Object, ...]) -> None:
    listed = json.loads((CHART / "files/idempotent.json").read_text())
    routes = of_kind(objects, "VirtualService")
    assert len(routes) == len(of_kind(objects, "Deployment"))
    repeated: dict[str, set[str]] = {}
    for name, found in routes.items():
        idempotent, others = found["spec"]["http"]
        repeated[name] = {match["uri"]["exact"] for match in idempotent["match"]}
        assert all(set(match) == {"uri"} for match in idempotent["match"])
        assert set(idempotent["retries"]["retryOn"].split(",")) == UNANSWERED
        assert "match" not in others
        assert set(others["retries"]["retryOn"].split(",")) == UNSEEN
        assert idempotent["route"] == others["route"]
    helpers = paths(listed, served())
    moe_router = paths(listed, ["assay.moe_router.v1.MoeRouterService"])
    assert "/assay.moe_router.v1.MoeRouterService/RevertPlan" not in moe_router
    assert repeated["trial-assay-moe-router"] == helpers | moe_router
    # A service whose protos the chart does not know: none of its own methods.
    assert repeated["trial-assay-your-service"] == helpers


def served() -> list[str]:
    """What every front answers, beside its own service and health."""
    return sorted(set(HELPERS) - {HEALTH})


def paths(listed: dict[str, list[str]], names: Iterable[str]) -> set[str]:
    return {f"/{name}/{method}" for name in names for method in listed.get(name, [])}


def test_callers_may_call_what_a_front_answers_and_nothing_else(helm: Path) -> None:
    objects = render(helm, Combination.of("mesh", ("gpu",), transport="mesh", mtls={}, mesh__callers=["d/ns/n/sa/a"]))
    policies, fronts = of_kind(objects, "AuthorizationPolicy"), of_kind(objects, "Deployment")
    accounts = {each["spec"]["template"]["spec"]["serviceAccountName"] for each in fronts.values()}
    assert len(accounts) == 3
    for name in fronts:
        named, *everyone = policies[name]["spec"]["rules"]
        (source,), (operation,) = named["from"], named["to"]
        assert set(source["source"]["principals"]) == {
            *(f"cluster.local/ns/assay/sa/{each}" for each in accounts),
            "d/ns/n/sa/a",
        }
        answered = (service_of(name), *served(), *REFLECTION)
        assert set(operation["operation"]["paths"]) == {f"/{each}/*" for each in answered}
        metrics = {"ports": ["9464"], "methods": ["GET"], "paths": ["/metrics"]}
        assert everyone == [{"to": [{"operation": each}]} for each in ({"paths": [f"/{HEALTH}/*"]}, metrics)]
    (peers,) = of_kind(objects, "PeerAuthentication").values()
    assert peers["spec"]["mtls"] == {"mode": "STRICT"}
    assert peers["spec"]["portLevelMtls"] == {"9464": {"mode": "PERMISSIVE"}}  # for a Prometheus outside of the mesh


def service_of(front: str) -> str:
    """The gRPC service of a front of the chart's own services."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())["services"]
    return str(values[front.removeprefix("trial-assay-").replace("-", "_")]["grpcService"])


def test_a_sidecar_replaces_what_a_caller_says_of_itself(objects: tuple[Object, ...]) -> None:
    (found,) = of_kind(objects, "EnvoyFilter").values()
    assert found["spec"]["workloadSelector"]["labels"] == {
        "app.kubernetes.io/instance": "trial",
        "app.kubernetes.io/component": "front",
    }
    (patch,) = found["spec"]["configPatches"]
    assert patch["match"]["context"] == "SIDECAR_INBOUND"
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    assert patch["patch"] == {
        "operation": "MERGE",
        "value": {
            "typed_config": {
                "@type": f"type.googleapis.com/{manager}",
                "forward_client_cert_details": "SANITIZE_SET",
                "set_current_client_cert_details": {"uri": True},
            }
        },
    }


def test_routes_lead_each_service_to_its_front_and_the_helpers_to_any(helm: Path) -> None:
    sets: dict[str, Any] = {
        "gateway__enabled": True,
        "gateway__parent": {"name": "public"},
        "transport": "mesh",
    }
    objects = render(helm, Combination.of("gateway", ("gpu",), **sets))
    fronts = of_kind(objects, "Deployment")
    routes = of_kind(objects, "GRPCRoute")
    shared = routes.pop("trial-assay-helpers")
    assert set(routes) == set(fronts)
    for name, route in routes.items():
        (rule,) = route["spec"]["rules"]
        assert rule["matches"] == [{"method": {"service": service_of(name)}}]
        assert rule["backendRefs"] == [{"name": name, "port": 50051}]
    (rule,) = shared["spec"]["rules"]
    asked = {match["method"]["service"] for match in rule["matches"]}
    assert asked == set(served()) - {"assay.checkup.v1.CheckupService"}
    assert rule["backendRefs"] == [{"name": name, "port": 50051} for name in sorted(fronts)]
