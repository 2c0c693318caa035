"""The chart as a newcomer installs it: it serves, its tests pass, a checkup through it says what one here says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from distributions import Environment

from cluster.conftest import Trained
from cluster.kubernetes import Kubernetes, is_ready
from cluster.release import Release, assay


def test_every_pod_is_ready_and_none_has_restarted(release: Release) -> None:
    pods = release.kubernetes.pods(release.namespace, f"app.kubernetes.io/instance={release.name}")
    ready = [pod for pod in pods if is_ready(pod)]
    parts = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in ready)
    assert parts == ["engine", "engine", "engine", "engine", "front", "front", "store"]
    restarts = {
        pod["metadata"]["name"]: found["restartCount"]
        for pod in ready
        for found in pod["status"]["containerStatuses"]
        if found["restartCount"]
    }
    assert restarts == {}


def test_helms_own_tests_pass(release: Release) -> None:
    said = release.helm("test").stdout
    assert said.count("Succeeded") == 2, said


def test_a_front_has_no_torch_and_no_token_of_the_api_server(release: Release, figure: Callable[..., None]) -> None:
    (front,) = release.pods("moe_router")
    found = release.kubernetes.kubectl(
        "exec", "-i", "-n", release.namespace, front["metadata"]["name"], "--", "python", "-",
        input=Path(__file__).with_name("inside_front.py").read_text(),
    )  # fmt: skip
    said = json.loads(found)
    figure("packages of a front's image, MB", said.pop("bytes") / 1e6)
    assert said.pop("listed") > 30
    assert said == {"heavy": [], "token": False, "uid": 10001, "writable": False}


def test_a_checkup_through_the_cluster_gives_the_figures_of_one_here(
    release: Release, kubernetes: Kubernetes, trained: Trained, client: Environment, tmp_path: Path
) -> None:
    model, text = trained.artifacts.path(trained.model), trained.artifacts.path(trained.text)
    endpoints = {f"ASSAY_{name.upper()}_ENDPOINT": release.address(name) for name in ("moe_router", "tom_verifier")}
    there, here = tmp_path / "there", tmp_path / "here"
    kubernetes.run(
        "env", *(f"{name}={value}" for name, value in endpoints.items()), client.folder / "bin/assay",
        "checkup", model, "--text", text, "--services", "moe_router,tom_verifier", "--out", there, timeout=600,
    )  # fmt: skip
    kubernetes.run(
        "env", f"ASSAY_STORE={(tmp_path / 'store').as_uri()}", "OMP_NUM_THREADS=1",
        assay(),
        "checkup", model, "--text", text, "--services", "moe_router,tom_verifier", "--out", here, timeout=600,
    )  # fmt: skip
    sections = [
        {found["service"]: found["artifact"] for found in json.loads((folder / "report.json").read_text())["sections"]}
        for folder in (there, here)
    ]
    # An artifact's name is the hash of its content, here of every figure, table and picture of the section.
    assert sorted(sections[0]) == ["moe_router", "tom_verifier"]
    assert sections[0] == sections[1]
