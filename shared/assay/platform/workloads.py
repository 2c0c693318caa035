"""What a release needs, read from its rendered objects: pods, secrets, kinds. The chart is the one source of truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from assay.platform.api import Object

GPU = "nvidia.com/gpu"
Resources = dict[str, Decimal]


@dataclass(frozen=True)
class Workload:
    """Pods of one shape. least, most: how many there are; pod: their spec; component: front, engine, store, hook."""

    name: str
    kind: str
    component: str
    service: str
    least: int
    most: int
    pod: Object
    metadata: Object = field(default_factory=dict)

    @property
    def requests(self) -> Resources:
        """Of one pod."""
        return requests_of(self.pod)

    @property
    def gpus(self) -> int:
        return int(self.requests.get(GPU, Decimal(0)))


def requests_of(pod: Mapping[str, Any], kind: str = "requests") -> Resources:
    """What one pod asks for (or is limited to): the sum over containers, or its largest init container.

    A limit without a request is a request as well, as Kubernetes has it.
    """
    total = _sum(pod.get("containers", []), kind)
    for container in pod.get("initContainers", []):
        for name, amount in _sum([container], kind).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _sum(containers: Sequence[Mapping[str, Any]], kind: str) -> Resources:
    from kubernetes.utils.quantity import parse_quantity

    total: Resources = {}
    for container in containers:
        resources = container.get("resources", {})
        asked = resources.get(kind) or {}
        if kind == "requests":
            asked = {**(resources.get("limits") or {}), **asked}
        for name, amount in asked.items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(amount)
    return total


@dataclass(frozen=True)
class SecretUse:
    """A secret that pods read. keys: those known to be needed."""

    name: str
    keys: frozenset[str]
    users: tuple[str, ...]


class Rendered:
    """The objects of a release, hooks included."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = list(objects)

    def of_kind(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(apiVersion, kind), each once."""
        return sorted({(found["apiVersion"], found["kind"]) for found in self.objects})

    def workloads(self) -> list[Workload]:
        least = {
            found["spec"]["scaleTargetRef"]["name"]: (found["spec"].get("minReplicas", 1), found["spec"]["maxReplicas"])
            for found in self.of_kind("HorizontalPodAutoscaler")
        }
        found: list[Workload] = []
        for made in self.objects:
            if made["kind"] in ("Deployment", "StatefulSet"):
                fixed = made["spec"].get("replicas", 1)
                low, high = least.get(made["metadata"]["name"], (fixed, fixed))
                template = made["spec"]["template"]
                claims = [each["metadata"]["name"] for each in made["spec"].get("volumeClaimTemplates", [])]
                volumes = [*template["spec"].get("volumes", []), *({"name": name, "emptyDir": {}} for name in claims)]
                template = template | {"spec": template["spec"] | {"volumes": volumes}}
                found.append(_workload(made, low, high, template))
            elif made["kind"] == "Job":
                found.append(_workload(made, 1, 1, made["spec"]["template"]))
            elif made["kind"] == "RayService":
                found += _ray(made)
        return found

    def lasting(self) -> list[Workload]:
        """Workloads that stay; jobs come and go."""
        return [each for each in self.workloads() if each.kind != "Job"]

    def secrets(self) -> list[SecretUse]:
        """Secrets that pods read and neither this release nor cert-manager for it makes."""
        made = {found["metadata"]["name"] for found in self.of_kind("Secret")}
        made |= {found["spec"]["secretName"] for found in self.of_kind("Certificate")}
        keys: dict[str, set[str]] = {}
        users: dict[str, list[str]] = {}
        for workload in self.workloads():
            for name, key in secret_keys(workload.pod):
                if name not in made:
                    keys.setdefault(name, set()).update({key} if key else ())
                    users.setdefault(name, []).append(workload.name)
        for ray in self.of_kind("RayService"):
            password = ray["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions", {}).get("redisPassword", {})
            if reference := password.get("valueFrom", {}).get("secretKeyRef"):
                keys.setdefault(reference["name"], set()).add(reference["key"])
                users.setdefault(reference["name"], []).append(ray["metadata"]["name"])
        return [SecretUse(n, frozenset(keys[n]), tuple(dict.fromkeys(users[n]))) for n in sorted(keys)]

    def environment(self, name: str) -> Object | None:
        """The first container's entry of that environment variable."""
        for workload in self.lasting():
            for container in workload.pod.get("containers", []):
                for entry in container.get("env", []):
                    if entry["name"] == name:
                        return dict(entry)
        return None

    def fronts(self) -> dict[str, Object]:
        """The front's Deployment of each service, by the service's name (with dashes)."""
        return {
            labels["app.kubernetes.io/name"]: found
            for found in self.of_kind("Deployment")
            if (labels := found["metadata"].get("labels", {})).get("app.kubernetes.io/component") == "front"
        }


def pod_labels(made: Object) -> dict[str, str]:
    """What the pods of a Deployment, a StatefulSet or a RayService are told by."""
    if made["kind"] != "RayService":
        return dict(made["spec"]["selector"]["matchLabels"])
    return dict(made["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["metadata"]["labels"])


def secret_keys(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(secret, key) that a pod reads; key "" where it takes all of them."""
    for puller in pod.get("imagePullSecrets", []):
        yield puller["name"], ".dockerconfigjson"
    containers = [*pod.get("initContainers", []), *pod.get("containers", [])]
    for container in containers:
        for entry in container.get("env", []):
            if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
        for source in container.get("envFrom", []):
            if reference := source.get("secretRef"):
                yield reference["name"], ""
    for volume in pod.get("volumes", []):
        if secret := volume.get("secret"):
            yield secret["secretName"], ""
            for key in _mounted_keys(containers, volume["name"]):
                yield secret["secretName"], key


def _mounted_keys(containers: Sequence[Mapping[str, Any]], volume: str) -> Iterator[str]:
    """Files of a mounted secret that the environment names, as ASSAY_TLS_CERT=/tls/tls.crt does."""
    for container in containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] == volume:
                for entry in container.get("env", []):
                    folder, _, file = str(entry.get("value", "")).rpartition("/")
                    if folder == mount["mountPath"] and file:
                        yield file


def _workload(made: Object, least: int, most: int, template: Object, name: str = "") -> Workload:
    labels = made["metadata"].get("labels", {})
    return Workload(
        name=name or made["metadata"]["name"],
        kind=made["kind"],
        component=labels.get("app.kubernetes.io/component", ""),
        service=labels.get("app.kubernetes.io/name", ""),
        least=least,
        most=max(least, most),
        pod=template["spec"],
        metadata=template.get("metadata", {}),
    )


def _ray(made: Object) -> list[Workload]:
    """A Ray cluster's head, with the autoscaler's container that KubeRay adds, and each group of workers."""
    cluster, name = made["spec"]["rayClusterConfig"], made["metadata"]["name"]
    head = cluster["headGroupSpec"]["template"]
    if cluster.get("enableInTreeAutoscaling"):
        options = cluster.get("autoscalerOptions", {})
        autoscaler = {"name": "autoscaler", "image": head["spec"]["containers"][0].get("image", "")} | {
            key: options[key] for key in ("resources", "securityContext") if key in options
        }
        head = head | {"spec": head["spec"] | {"containers": [*head["spec"]["containers"], autoscaler]}}
    found = [_workload(made, 1, 1, head, f"{name} head")]
    for group in cluster.get("workerGroupSpecs", []):
        least = max(group.get("replicas", 0), group.get("minReplicas", 0))
        most = group.get("maxReplicas", least)
        found.append(_workload(made, least, most, group["template"], f"{name} {group['groupName']} workers"))
    return found
