"""What every front, engine and policy of the chart keeps, whatever the values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.matrix import combinations
from charts.rendering import CHART, Combination, Object, of_kind, pods_of, render

MATRIX = combinations()


@pytest.fixture(params=MATRIX, ids=lambda each: each.name)
def objects(helm: Path, request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return render(helm, request.param)


def test_every_container_is_confined_and_bounded(objects: tuple[Object, ...]) -> None:
    for _, pod in pods_of(objects):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "envFrom" not in container
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_every_front_has_probes_a_budget_and_a_policy(objects: tuple[Object, ...]) -> None:
    budgets = [found["spec"]["selector"]["matchLabels"] for found in of_kind(objects, "PodDisruptionBudget").values()]
    policies = of_kind(objects, "NetworkPolicy")
    for name, front in of_kind(objects, "Deployment").items():
        (container,) = front["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["grpc"]["service"] == container["startupProbe"]["grpc"]["service"] == "live"
        assert container["readinessProbe"]["grpc"].get("service", "") == ""
        mtls = {"name": "ASSAY_TRANSPORT", "value": "mtls"} in container["env"]
        assert container["readinessProbe"]["grpc"]["port"] == (50052 if mtls else 50051)
        assert front["spec"]["selector"]["matchLabels"] in budgets
        assert name in policies or not policies
        drain, grace = (int(_environment(container)[key]) for key in ("ASSAY_DRAIN_S", "ASSAY_GRACE_S"))
        assert front["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain + grace


def test_no_cache_is_told_to_grow_beyond_its_volume(objects: tuple[Object, ...]) -> None:
    for component, pod in pods_of(objects):
        for container in pod["spec"]["containers"]:
            bound = {each["name"]: each.get("value", "") for each in container.get("env", [])}.get("ASSAY_CACHE_BYTES")
            assert (bound is not None) == (component in ("front", "engine"))
            if bound is not None:
                (size,) = [each["emptyDir"]["sizeLimit"] for each in pod["spec"]["volumes"] if each["name"] == "cache"]
                assert int(bound) == int(size.removesuffix("Gi")) * 2**30 * 4 // 5


def test_only_ray_heads_get_a_token_of_the_api_server(objects: tuple[Object, ...]) -> None:
    for _, pod in pods_of(objects):
        head = pod["spec"]["containers"][0]["name"] == "ray-head"
        assert pod["spec"]["automountServiceAccountToken"] is head


def test_only_its_own_front_reaches_an_engine(objects: tuple[Object, ...]) -> None:
    fronts, policies = of_kind(objects, "Deployment"), of_kind(objects, "NetworkPolicy")
    for name, engine in of_kind(objects, "RayService").items():
        front = fronts[name.removesuffix("-engine")]
        if policies:
            opened = policies[name]["spec"]["ingress"]
            serve = [rule for rule in opened if any(port["port"] == 9000 for port in rule.get("ports", []))]
            assert [rule["from"] for rule in serve] == [[{"podSelector": front["spec"]["selector"]}]]
            anyone = [rule for rule in opened if not rule.get("from")]
            assert anyone == []
        allowed = of_kind(objects, "AuthorizationPolicy").get(name)
        assert (allowed is not None) == bool(of_kind(objects, "PeerAuthentication"))
        if allowed is not None:
            by_port = [
                rule for rule in allowed["spec"]["rules"] if {"operation": {"ports": ["9000"]}} in rule.get("to", [])
            ]
            account = front["spec"]["template"]["spec"]["serviceAccountName"]
            assert [rule["from"][0]["source"]["principals"] for rule in by_port] == [
                [f"cluster.local/ns/assay/sa/{account}"]
            ]
        assert engine["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_what_is_not_opened_is_denied(objects: tuple[Object, ...]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        return
    (everyone,) = [found["spec"] for name, found in policies.items() if name.endswith("-deny")]
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everyone
    for _, pod in pods_of(objects):
        wanted = everyone["podSelector"]["matchLabels"].items()
        assert wanted <= pod["metadata"]["labels"].items()


def test_one_transport_excludes_the_others(objects: tuple[Object, ...]) -> None:
    transports = {
        _environment(front["spec"]["template"]["spec"]["containers"][0])["ASSAY_TRANSPORT"]
        for front in of_kind(objects, "Deployment").values()
    }
    assert len(transports) == 1
    assert bool(of_kind(objects, "PeerAuthentication")) == (transports == {"mesh"})
    assert not of_kind(objects, "Certificate") or transports == {"mtls"}


def test_workers_with_gpus_ask_for_them_where_they_are(helm: Path) -> None:
    objects = render(helm, Combination.of("gpu", ("gpu",)))
    products = {}
    for name, engine in of_kind(objects, "RayService").items():
        (group,) = engine["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        pod = group["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
        products[name] = pod["nodeSelector"]["nvidia.com/gpu.product"]
    assert products == {
        "trial-assay-inference-optimizer-engine": "NVIDIA-H100-80GB-HBM3",
        "trial-assay-moe-router-engine": "NVIDIA-L4",
        "trial-assay-tom-verifier-engine": "NVIDIA-L4",
    }


def test_a_front_that_computes_itself_has_the_engine_s_image(helm: Path) -> None:
    sets: dict[str, Any] = {"services__tom_verifier__engine__placement": "in-process"}
    objects = render(helm, Combination.of("mixed", **sets))
    images = {
        name: front["spec"]["template"]["spec"]["containers"][0]["image"]
        for name, front in of_kind(objects, "Deployment").items()
    }
    assert images["trial-assay-tom-verifier"] == "assay-tom-verifier-engine:0.1.0"
    assert images["trial-assay-moe-router"] == "assay-moe-router-front:0.1.0"


def test_the_bucket_is_made_by_an_image_that_is_there(objects: tuple[Object, ...]) -> None:
    fronts = {
        front["spec"]["template"]["spec"]["containers"][0]["image"] for front in of_kind(objects, "Deployment").values()
    }
    for job in of_kind(objects, "Job").values():
        assert job["spec"]["template"]["spec"]["containers"][0]["image"] in fronts


def test_a_service_is_a_few_lines_of_values(helm: Path) -> None:
    readme = (CHART / "README.md").read_text()
    lines = readme.partition("## A further service")[2].split("```yaml\n")[1].partition("```")[0]
    assert len(lines.splitlines()) <= 15
    service = yaml.safe_load(lines)["services"]["your_service"]
    before = render(helm, Combination.of("before"))
    after = render(helm, Combination.of("after", services__your_service=service))
    kinds = {found["kind"] for found in after if re.search(r"-your-service\b", found["metadata"]["name"])}
    assert kinds >= {
        "Deployment",
        "Service",
        "ServiceAccount",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "RayService",
        "Pod",
    }
    # Nothing of the others changes but the secrets' random values.
    kept = {(found["kind"], found["metadata"]["name"]): found for found in after if found["kind"] != "Secret"}
    for found in before:
        if found["kind"] != "Secret":
            assert kept[found["kind"], found["metadata"]["name"]] == found


def _environment(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}
