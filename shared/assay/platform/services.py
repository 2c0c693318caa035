"""The services of a release, and a gRPC channel to each: by its public address, or through the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.errors import FailedPrecondition, Unavailable
from assay.platform.api import Cluster, Object
from assay.platform.forward import forward
from assay.platform.helm import Helm, Target
from assay.platform.workloads import Rendered, pod_labels

if TYPE_CHECKING:
    import grpc

PORT = 50051


@dataclass(frozen=True)
class Service:
    """name: as in the values; grpc: full name; front: its Deployment and Service; pods: the label selector of these."""

    name: str
    grpc: str
    front: str
    pods: str
    transport: str


@dataclass(frozen=True)
class Address:
    """How to reach a service. target: HOST:PORT; authority: whom TLS and routes take it for; how: in words.

    public: its certificate may be one of the usual authorities', and none of the caller's is asked for.
    """

    target: str
    authority: str
    secure: bool
    how: str
    public: bool = False


def installed(target: Target, helm: Helm) -> tuple[list[Service], Rendered, Object]:
    """Enabled services, the release's objects, and all its values. NotFound where there is no release."""
    values = helm.values(everything=True)
    rendered = Rendered(helm.manifest())
    fronts = rendered.fronts()
    transport = str(values.get("transport", "plaintext"))
    found = []
    for name, own in sorted((values.get("services") or {}).items()):
        if (front := fronts.get(name.replace("_", "-"))) is not None:
            pods = ",".join(f"{key}={value}" for key, value in pod_labels(front).items())
            found.append(Service(name, own["grpcService"], front["metadata"]["name"], pods, transport))
    return found, rendered, values


@contextmanager
def through_cluster(cluster: Cluster, target: Target, service: Service) -> Iterator[Address]:
    """A port of one of the front's pods that are ready, forwarded. Unavailable where none is."""
    pod = _ready_pod(cluster, target, service)
    with forward(cluster, target.namespace, pod, PORT) as here:
        yield Address(here, service.front, service.transport == "mtls", f"pod {pod}, port forwarded")


def _ready_pod(cluster: Cluster, target: Target, service: Service) -> str:
    for pod in cluster.list(f"/api/v1/namespaces/{target.namespace}/pods", labelSelector=service.pods):
        conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", [])}
        if conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    raise Unavailable(f"no pod of {service.front} is ready; see `assay platform status`")


def through_gateway(cluster: Cluster, target: Target, values: Mapping[str, Any]) -> Address | None:
    """The Gateway that the release's routes hang on; None where the values name none. Unavailable without address."""
    gateway = values.get("gateway") or {}
    if not gateway.get("enabled"):
        return None
    parent = gateway["parent"]
    namespace = parent.get("namespace") or target.namespace
    path = cluster.path_of("gateway.networking.k8s.io/v1", "Gateway", namespace, parent["name"])
    found = cluster.get(path)
    addresses = found.get("status", {}).get("addresses") or []
    listeners = [
        each for each in found["spec"]["listeners"] if each["name"] == (parent.get("sectionName") or each["name"])
    ]
    if not addresses or not listeners:
        raise Unavailable(
            f"the Gateway {parent['name']} has no address yet; see kubectl -n {namespace} describe gateway"
        )
    hostnames = gateway.get("hostnames") or []
    secure = listeners[0]["protocol"] in ("HTTPS", "TLS")
    where = f"{addresses[0]['value']}:{listeners[0]['port']}"
    return Address(
        where, hostnames[0] if hostnames else "", secure, f"Gateway {parent['name']} at {where}", public=True
    )


@contextmanager
def channel(address: Address) -> Iterator[grpc.Channel]:
    """TLS by ASSAY_TLS_CA and the client's certificate; FailedPrecondition where they are wanted and not set."""
    import grpc

    from assay.client.connection import OPTIONS, tls_credentials

    options: list[tuple[str, Any]] = [*OPTIONS]
    if address.authority:
        options.append(("grpc.default_authority", address.authority))
    if not address.secure:
        with grpc.insecure_channel(address.target, options) as made:
            yield made
        return
    credentials = tls_credentials(os.environ) or (grpc.ssl_channel_credentials() if address.public else None)
    if credentials is None:
        raise FailedPrecondition(
            "it is served with TLS; set ASSAY_TLS_CA, ASSAY_TLS_CLIENT_CERT and ASSAY_TLS_CLIENT_KEY (docs/identity.md)"
        )
    if address.authority:
        options.append(("grpc.ssl_target_name_override", address.authority))
    with grpc.secure_channel(address.target, credentials, options) as made:
        yield made
