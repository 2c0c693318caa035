"""Names that objects say of each other: each leads somewhere, and nobody holds a key that is not its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from charts.matrix import combinations
from charts.rendering import Combination, Object, of_kind, pods_of, render

# Secrets that the matrix says are there already.
BROUGHT = {"assay-s3", "token", "certificates"}
# Whatever is keyed in a list; an API server refuses two of a key.
KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "port", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
SELECTING = (
    "AuthorizationPolicy",
    "NetworkPolicy",
    "PeerAuthentication",
    "PodDisruptionBudget",
    "PodMonitor",
    "Service",
)


@pytest.fixture(params=combinations(), ids=lambda each: each.name)
def objects(helm: Path, request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return render(helm, request.param)


def test_every_selector_selects_pods(objects: tuple[Object, ...]) -> None:
    pods = [pod["metadata"]["labels"] for _, pod in pods_of(objects)]
    for kind in SELECTING:
        for name, found in of_kind(objects, kind).items():
            wanted = selector_of(found).items() - {("ray.io/node-type", "head")}  # which KubeRay adds
            assert [labels for labels in pods if wanted <= labels.items()], (kind, name)


def selector_of(found: Object) -> dict[str, str]:
    spec = found["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    return dict(selector.get("matchLabels", selector))


def test_services_and_probes_name_ports_that_pods_have(objects: tuple[Object, ...]) -> None:
    pods = [pod for _, pod in pods_of(objects)]
    for found in of_kind(objects, "Service").values():
        for port in found["spec"]["ports"]:
            named = [
                each["name"]
                for pod in pods
                if selector_of(found).items() <= pod["metadata"]["labels"].items()
                for each in pod["spec"]["containers"][0]["ports"]
            ]
            assert port["targetPort"] in named
    for pod in pods:
        for container in pod["spec"]["containers"]:
            names = {each["name"] for each in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port", 0)
                assert isinstance(port, int) or port in names
    for monitor in of_kind(objects, "ServiceMonitor").values():
        watched = [each for each in of_kind(objects, "Service").values() if selects(monitor, each)]
        assert len(watched) == len(of_kind(objects, "Deployment"))
        for service in watched:
            ports = {port["name"] for port in service["spec"]["ports"]}
            assert {each["port"] for each in monitor["spec"]["endpoints"]} <= ports
            assert set(monitor["spec"]["targetLabels"]) <= set(service["metadata"]["labels"])


def selects(selecting: Object, found: Object) -> bool:
    return selector_of(selecting).items() <= found["metadata"]["labels"].items()


def test_fronts_scale_and_are_disrupted_as_one(objects: tuple[Object, ...]) -> None:
    scalers, budgets = of_kind(objects, "HorizontalPodAutoscaler"), of_kind(objects, "PodDisruptionBudget")
    for name, front in of_kind(objects, "Deployment").items():
        assert ("replicas" in front["spec"]) == (name not in scalers)  # two masters would undo each other's work
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budgets[name]["spec"]
        if name in scalers:
            spec = scalers[name]["spec"]
            assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
            assert 1 <= spec["minReplicas"] <= spec["maxReplicas"]
            (resources,) = (each["resources"] for each in front["spec"]["template"]["spec"]["containers"])
            assert "cpu" in resources["requests"]  # of which the scaler's target is a share
    for name, engine in of_kind(objects, "RayService").items():
        (group,) = engine["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert budgets[name]["spec"]["minAvailable"] < 1 + group["minReplicas"]  # with the head; else no node drains
    assert set(scalers) <= set(of_kind(objects, "Deployment"))


def test_spread_is_over_a_pod_s_own_kind(objects: tuple[Object, ...]) -> None:
    spread = 0
    for component, pod in pods_of(objects):
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
            spread += 1
    assert spread >= 2 * len(of_kind(objects, "Deployment"))


def test_what_pods_name_is_there(objects: tuple[Object, ...]) -> None:
    made = {kind: set(of_kind(objects, kind)) for kind in ("Secret", "ConfigMap", "ServiceAccount", "Certificate")}
    secrets = made["Secret"] | {f"{name}-tls" for name in made["Certificate"]} | BROUGHT
    read = set()
    for _, pod in pods_of(objects):
        names = {source["name"] for source, _ in secret_references(pod)}
        assert names <= secrets
        read |= names
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        volumes |= {"data": {}} if pod["spec"]["containers"][0]["name"] == "minio" else {}  # of the StatefulSet
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in made["ConfigMap"]
        mounts = [mount["name"] for each in pod["spec"]["containers"] for mount in each.get("volumeMounts", [])]
        assert set(mounts) == set(volumes)  # none is missing, and none is there for nobody
        assert pod["spec"].get("serviceAccountName", "default") in made["ServiceAccount"] | {"default"}
    assert made["Secret"] <= read  # none is made that nobody reads


def secret_references(pod: Object) -> Iterator[tuple[Object, str]]:
    """(reference, how) of every secret that a pod reads: a variable's name, or "volume"."""
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            if (source := variable.get("valueFrom", {}).get("secretKeyRef")) is not None:
                yield source, variable["name"]
    for volume in pod["spec"].get("volumes", []):
        if (mounted := volume.get("secret")) is not None:
            yield {"name": mounted["secretName"]}, "volume"


def test_nobody_reads_a_secret_but_for_its_own_work(objects: tuple[Object, ...]) -> None:
    fronts = of_kind(objects, "Deployment")
    relaying = {name.removesuffix("-engine") for name in of_kind(objects, "RayService")}
    for component, pod in pods_of(objects):
        service = pod["metadata"]["labels"]["assay/service"]
        front = f"trial-assay-{service}"
        uses = {how for _, how in secret_references(pod)}
        store = {"ASSAY_S3_ACCESS_KEY", "ASSAY_S3_SECRET_KEY"}
        transport = environment(fronts[front])["ASSAY_TRANSPORT"] if component in ("front", "test") else ""
        certificate = {"volume"} if transport == "mtls" else set()
        token = {"ASSAY_ENGINE_TOKEN"} if front in relaying else set()
        expected = {
            "front": store | token | certificate,
            "engine": store | token,
            "store": {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"},
            "hook": store,
            "test": certificate,
        }
        assert uses == expected[component]
        mounted = {source["name"] for source, how in secret_references(pod) if how == "volume"}
        assert mounted <= {f"{front}-tls", "certificates"}  # no other front's
    for engine in of_kind(objects, "RayService").values():
        options = engine["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions")
        if options is not None:
            assert set(options["redisPassword"]["valueFrom"]["secretKeyRef"]) == {"name", "key"}


def test_no_secret_stands_in_the_open(objects: tuple[Object, ...]) -> None:
    for _, pod in pods_of(objects):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if re.search(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY|ROOT_USER", variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}
    for kind in ("Role", "ClusterRole"):
        for role in of_kind(objects, kind).values():
            for rule in role["rules"]:
                assert "*" not in (*rule["verbs"], *rule.get("resources", []), *rule.get("apiGroups", []))
                assert "secrets" not in rule.get("resources", [])


def environment(front: Object) -> dict[str, str]:
    (container,) = front["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_keyed_lists_name_each_key_once(objects: tuple[Object, ...]) -> None:
    for found in objects:
        assert list(repeated(found)) == []


def repeated(found: Any, field: str = "") -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from repeated(value, name)
    elif isinstance(found, Sequence) and not isinstance(found, str):
        if field in KEYS and all(isinstance(each, dict) for each in found):
            keys = [tuple(each.get(key) for key in KEYS[field]) for each in found]
            yield from (f"{field}: {key}" for key in set(keys) if keys.count(key) > 1)
        for value in found:
            yield from repeated(value)


def test_names_fit_where_kubernetes_puts_them(objects: tuple[Object, ...]) -> None:
    for found in objects:
        name = found["metadata"]["name"]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name), name
        for label, value in found["metadata"]["labels"].items():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value), label
    for name in of_kind(objects, "RayService"):
        assert len(name) <= 47


def test_the_chart_is_installed_twice_beside_each_other(helm: Path) -> None:
    """No two releases in a namespace claim an object or a pod of the other's."""
    first, second = (render(helm, Combination.of(each, release=each)) for each in ("one", "two"))
    assert {(found["kind"], found["metadata"]["name"]) for found in first}.isdisjoint(
        {(found["kind"], found["metadata"]["name"]) for found in second}
    )
    pods = [pod["metadata"]["labels"] for _, pod in pods_of(second)]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for found in of_kind(first, kind).values():
            assert not [labels for labels in pods if selector_of(found).items() <= labels.items()]
