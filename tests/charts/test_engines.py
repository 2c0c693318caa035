"""What a Ray cluster is told of its pods fits them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from charts.rendering import Combination, Object, of_kind, render

SIZES = {"Gi": 2**30, "Mi": 2**20}


def a_replica_fills_its_worker_pod(objects: tuple[Object, ...]) -> None:
    """It fits, and no second one does: the pod's memory is one replica's."""
    for engine in of_kind(objects, "RayService").values():
        (application,) = yaml.safe_load(engine["spec"]["serveConfigV2"])["applications"]
        (group,) = engine["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        has, takes = int(group["rayStartParams"]["num-cpus"]), float(application["args"]["cpus"])
        asked = float(group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        assert asked <= takes <= has < 2 * takes


@pytest.mark.parametrize("cpu", [0.5, 1, 1.5, 4])
def test_a_replica_fills_its_worker_pod(helm: Path, cpu: float) -> None:
    sets = {"defaults__engine__resources__cpu": cpu, "defaults__engine__replicas": {"min": 1, "max": 4}}
    a_replica_fills_its_worker_pod(render(helm, Combination.of("engines", **sets)))


@pytest.mark.parametrize("files", [("laptop",), ("gpu",)], ids=lambda files: files[0])
def test_no_node_of_ray_has_more_objects_than_shared_memory(helm: Path, files: tuple[str, ...]) -> None:
    """Else Ray keeps them in /tmp, on disk. Shared memory counts towards the container's limit."""
    for engine in of_kind(render(helm, Combination.of("", files)), "RayService").values():
        cluster = engine["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            (shared,) = [each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if each["name"] == "shared-memory"]
            limit = pod["containers"][0]["resources"]["limits"]["memory"]
            assert 75 * 2**20 < int(group["rayStartParams"]["object-store-memory"]) <= bytes_of(shared)
            assert bytes_of(shared) <= bytes_of(limit) / 2


def bytes_of(size: str) -> int:
    return int(size[:-2]) * SIZES[size[-2:]]
