"""Who may open a connection to whom, by the rules of NetworkPolicy: what an enforcing network plugin would let through.

Semantics of networking.k8s.io/v1: a pod that a policy selects for a direction may do in it what some such policy
allows, and nothing else; one that none selects may do anything. Both ends must agree. Kubelets reach the pods of their
node whatever policies say, so that probes are not looked at.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from charts.rendering import Object, of_kind, pods_of


@dataclass(frozen=True)
class Endpoint:
    """A pod by its labels and its namespace's; or, with an address, something outside of the cluster."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def pod(name: str, namespace: str, labels: Mapping[str, str] | None = None, **namespace_labels: str) -> Endpoint:
    named = {"kubernetes.io/metadata.name": namespace, **namespace_labels}
    return Endpoint(name, namespace, labels or {}, named)


def pods_rendered(objects: Sequence[Object], namespace: str) -> list[Endpoint]:
    """One endpoint for each pod template, named by its labels: "front moe-router", "engine moe-router head"."""
    found = []
    for component, template in pods_of(objects):
        labels = dict(template["metadata"]["labels"])
        name = f"{component} {labels['assay/service']}"
        first = template["spec"]["containers"][0]["name"]
        if first in ("ray-head", "ray-worker"):  # KubeRay labels its pods so
            labels["ray.io/node-type"] = first.removeprefix("ray-")
            name += f" {labels['ray.io/node-type']}"
        found.append(pod(name, namespace, labels))
    return found


class Network:
    """The policies of one namespace."""

    def __init__(self, objects: Sequence[Object], namespace: str) -> None:
        self._namespace = namespace
        self._policies = [found["spec"] for found in of_kind(objects, "NetworkPolicy").values()]

    def allows(self, source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
        return self._may(source, target, port, protocol, "egress", "to") and self._may(
            target, source, port, protocol, "ingress", "from"
        )

    def _may(self, one: Endpoint, other: Endpoint, port: int, protocol: str, direction: str, peers: str) -> bool:
        if one.namespace != self._namespace:
            return True
        applying = [
            policy
            for policy in self._policies
            if direction.capitalize() in policy["policyTypes"] and selects(policy["podSelector"], one.labels)
        ]
        rules = [rule for policy in applying for rule in policy.get(direction) or []]
        return not applying or any(
            self._is_peer(other, rule.get(peers)) and is_port(port, protocol, rule.get("ports")) for rule in rules
        )

    def _is_peer(self, other: Endpoint, peers: Sequence[Object] | None) -> bool:
        return not peers or any(self._fits(other, peer) for peer in peers)

    def _fits(self, other: Endpoint, peer: Object) -> bool:
        if "ipBlock" in peer:
            block = ipaddress.ip_network(peer["ipBlock"]["cidr"])
            return bool(other.address) and ipaddress.ip_address(other.address) in block
        if other.address:
            return False
        if "namespaceSelector" in peer:
            near = selects(peer["namespaceSelector"], other.namespace_labels)
        else:
            near = other.namespace == self._namespace
        return near and selects(peer.get("podSelector", {}), other.labels)


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the chart uses no expressions"
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_port(port: int, protocol: str, ports: Sequence[Object] | None) -> bool:
    return not ports or any(
        each.get("protocol", "TCP") == protocol and ("port" not in each or each["port"] == port) for each in ports
    )


def edges(
    network: Network, sources: Iterable[Endpoint], targets: Iterable[Endpoint], ports: Iterable[int]
) -> dict[tuple[str, str], set[int]]:
    """The ports of TCP, of those asked about, that each pair may use; pairs that may use none are left out."""
    asked, ends = list(ports), list(targets)
    found = {
        (source.name, target.name): {port for port in asked if network.allows(source, target, port)}
        for source in sources
        for target in ends
    }
    return {pair: open_ports for pair, open_ports in found.items() if open_ports}
