"""What the chart renders, before a real API server: each object is taken, and each pod under the strictest standard."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from charts.custom_resources import GROUPS
from charts.matrix import combinations
from charts.pod_security import violations
from charts.rendering import Object, pods_of, render
from charts.test_pod_security import GOOD, REFUSED

from apiserver.scene import namespace
from apiserver.server import ApiServer, apply
from assay.errors import AssayError
from assay.platform.api import Cluster

RELEASE = "assay"  # the namespace that the matrix is rendered for
# Refused by the server before the standard is asked, for what goes with them.
EARLIER = {"Windows' host processes", "privileged", "proc unmasked"}


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = api_server.cluster()
    apply(cluster, namespace(RELEASE))
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    apply(cluster, namespace("restricted", **labels))
    return cluster


@pytest.fixture(scope="module")
def rendered(tool: Callable[[str], Path]) -> list[Object]:
    """Every object of the matrix once, but those of add-ons whose definitions are not at hand."""
    found = {
        json.dumps(each, sort_keys=True): each
        for combination in combinations()
        for each in render(tool("helm"), combination)
        if each["kind"] != "Secret" and each["apiVersion"].split("/")[0] not in GROUPS
    }
    return list(found.values())


def refused(cluster: Cluster, namespace: str, found: Object) -> str:
    """In the server's words; empty where it would take the object, in which it knows every field."""
    path = cluster.path_of(found["apiVersion"], found["kind"], namespace)
    try:
        cluster.raw("POST", path, query={"dryRun": "All", "fieldValidation": "Strict"}, body=found, repeat=True)
    except AssayError as error:
        return error.message
    return ""


def test_every_object_is_taken(cluster: Cluster, rendered: list[Object]) -> None:
    assert len(rendered) > 200
    assert len({each["kind"] for each in rendered}) >= 11
    faults = {f"{each['kind']} {each['metadata']['name']}": refused(cluster, RELEASE, each) for each in rendered}
    assert {name: said for name, said in faults.items() if said} == {}


def pods(rendered: list[Object]) -> Iterator[Object]:
    for index, (_, template) in enumerate(pods_of(rendered)):
        spec = copy.deepcopy(template["spec"])
        claims = {mount["name"] for each in spec["containers"] for mount in each.get("volumeMounts", [])}
        for claim in claims - {volume["name"] for volume in spec.get("volumes", [])}:  # of a StatefulSet
            spec["volumes"].append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{index}"}, "spec": spec}


def test_every_pod_is_taken_under_the_strictest_standard(cluster: Cluster, rendered: list[Object]) -> None:
    found = list(pods(rendered))
    assert len(found) > 100
    faults = [(pod, said) for pod in found if (said := refused(cluster, "restricted", pod))]
    assert faults == []


@pytest.mark.parametrize("control", REFUSED)
def test_the_server_refuses_what_our_own_check_does(cluster: Cluster, control: str) -> None:
    path, value = REFUSED[control]
    pod: Any = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": copy.deepcopy(GOOD)}
    pod["spec"]["containers"][0]["image"] = "image:1"
    assert refused(cluster, "restricted", pod) == ""
    *above, last = path
    inner = pod["spec"]
    for step in above:
        inner = inner[step]
    inner[last] = value
    assert violations(pod["spec"])
    words = "is invalid" if control in EARLIER else "violates PodSecurity"
    assert words in refused(cluster, "restricted", pod)
