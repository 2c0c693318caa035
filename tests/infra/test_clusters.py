"""The chart's engines fit onto the node pools that infra/clusters describes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.rendering import Object, of_kind

from infra.rendering import INFRA, REPOSITORY, manifests, render_release, values

FOLDER = INFRA / "clusters"
README = (FOLDER / "README.md").read_text()
Pool = dict[str, Any]  # labels, taints (keys), least nodes
GKE_TAINTS = ["nvidia.com/gpu"]  # put on nodes with GPUs by GKE itself


def eks_pools() -> Iterator[Pool]:
    (cluster,) = manifests(FOLDER / "eks.yaml")
    for group in cluster["managedNodeGroups"]:
        taints = [taint["key"] for taint in group.get("taints", [])]
        yield {"name": group["name"], "labels": group.get("labels", {}), "taints": taints, "least": group["minSize"]}


def gke_pools() -> Iterator[Pool]:
    text = (FOLDER / "gke.sh").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("gcloud container node-pools create"):
            continue
        name, *words = shlex.split(line)[4:]
        given = dict(zip(words, [*words[1:], ""], strict=True))
        accelerator = dict(pair.split("=") for pair in given["--accelerator"].split(","))
        labels = {"cloud.google.com/gke-accelerator": accelerator["type"]}
        yield {"name": name, "labels": labels, "taints": GKE_TAINTS, "least": int(given["--total-min-nodes"])}


CLOUDS = {"eks": list(eks_pools()), "gke": list(gke_pools())}


def worker_pods(objects: Sequence[Object]) -> dict[str, Object]:
    return {
        name: engine["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
        for name, engine in of_kind(objects, "RayService").items()
    }


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_engine_goes_to_exactly_one_pool(helm: Path, cloud: str) -> None:
    workers = worker_pods(render_release(helm, *values("gpu", f"infra/clusters/{cloud}-values.yaml")))
    assert len(workers) == 3
    chosen = {}
    for name, pod in workers.items():
        tolerated = {toleration["key"] for toleration in pod["tolerations"]}
        (pool,) = [each for each in CLOUDS[cloud] if pod["nodeSelector"].items() <= each["labels"].items()]
        assert set(pool["taints"]) <= tolerated
        assert pool["taints"]  # nothing else may take its room
        chosen[name.removeprefix("assay-").removesuffix("-engine")] = pool["name"]
    assert chosen == {"moe-router": "gpu-l4", "tom-verifier": "gpu-l4", "inference-optimizer": "gpu-h100"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_gpu_pools_begin_with_no_node(cloud: str) -> None:
    assert {pool["least"] for pool in CLOUDS[cloud] if pool["taints"]} == {0}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_api_server_and_the_store_are_within_reach(helm: Path, cloud: str) -> None:
    objects = render_release(helm, *values("gpu", f"infra/clusters/{cloud}-values.yaml"))
    policies = of_kind(objects, "NetworkPolicy")
    opened = [rule for name in policies for rule in policies[name]["spec"].get("egress", [])]
    ports = [port["port"] for rule in opened for port in rule.get("ports", [])]
    assert ports.count(443) == 1 + 3  # the store for all, the API server for each engine
    assert 6443 not in ports


def test_the_autoscaler_is_told_of_labels_and_may_read_tags() -> None:
    (cluster,) = manifests(FOLDER / "eks.yaml")
    for group in cluster["managedNodeGroups"]:
        assert group.get("propagateASGTags", False) == bool(group.get("taints"))
    (account,) = cluster["iam"]["serviceAccounts"]
    autoscaler = yaml.safe_load((INFRA / "addons/cluster-autoscaler.yaml").read_text())
    assert autoscaler["rbac"]["serviceAccount"] == {"create": False, "name": account["metadata"]["name"]}
    assert autoscaler["autoDiscovery"]["clusterName"] == cluster["metadata"]["name"]
    assert autoscaler["awsRegion"] == cluster["metadata"]["region"]


def test_kubernetes_is_new_enough_for_the_chart() -> None:
    (cluster,) = manifests(FOLDER / "eks.yaml")
    chart = yaml.safe_load((REPOSITORY / "charts/assay/Chart.yaml").read_text())
    least = re.fullmatch(r">=1\.(\d+)\.0-0", chart["kubeVersion"])
    assert least is not None
    assert int(cluster["metadata"]["version"].removeprefix("1.")) >= int(least[1])


def test_the_script_is_one_that_bash_reads() -> None:
    subprocess.run(["bash", "-n", FOLDER / "gke.sh"], check=True, timeout=10)


def test_kind_loads_every_image_that_a_trial_runs(helm: Path) -> None:
    text = re.search(r"kind load docker-image --name (\S+) ((?:.*\\\n)*.*)", README)
    assert text is not None
    (cluster,) = manifests(FOLDER / "kind.yaml")
    assert text[1] == cluster["name"]
    images = set(images_of(render_release(helm, *values("laptop"))))
    assert set(text[2].replace("\\\n", " ").split()) == images


def images_of(found: Any) -> Iterator[str]:
    """Every `image` in the objects, however deep."""
    if isinstance(found, dict):
        if isinstance(found.get("image"), str):
            yield found["image"]
        found = list(found.values())
    if isinstance(found, (list, tuple)):
        for each in found:
            yield from images_of(each)


def test_the_operator_of_a_trial_is_the_add_on() -> None:
    addons = (INFRA / "addons/README.md").read_text()
    installed = re.search(r"helm upgrade --install kuberay-operator .*\\\n.*\\\n.*", addons)
    assert installed is not None
    assert installed[0] in README
