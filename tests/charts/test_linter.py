"""What people wrote down about manifests in general: Helm's own linter and Checkov's rules."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.absent import absent
from charts.rendering import CHART, KUBERNETES, REPOSITORY, Combination, Object, pods_of, render

VALUES = {"laptop": ("laptop",), "gpu": ("gpu",), "ha": ("gpu", "ha")}
CHECKOV = REPOSITORY / ".venv-lint/checkov/bin/checkov"


@pytest.mark.parametrize("files", VALUES.values(), ids=VALUES)
def test_helm_has_nothing_to_warn_of(helm: Path, files: tuple[str, ...]) -> None:
    command = [helm, "lint", "--strict", CHART, "--kube-version", KUBERNETES[-1]]
    for file in files:
        command += ["--values", CHART / f"values-{file}.yaml"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_finding_is_waived_with_a_reason(helm: Path, tmp_path: Path) -> None:
    waivers = yaml.safe_load((Path(__file__).parent / "waivers.yaml").read_text())
    used, left = set(), set()
    for check, where in findings(helm, tmp_path):
        fitting = [
            index
            for index, waiver in enumerate(waivers)
            if waiver["check"] == check and re.fullmatch(waiver["where"], where)
        ]
        used.update(fitting)
        if not fitting:
            left.add((check, where))
    assert left == set()
    assert [waiver for index, waiver in enumerate(waivers) if index not in used] == []
    assert all(waiver["reason"] for waiver in waivers)


def findings(helm: Path, folder: Path) -> set[tuple[str, str]]:
    """(check, KIND/NAME) of all that Checkov finds. It rates nothing offline: each finding counts."""
    if not CHECKOV.is_file():
        absent("needs Checkov in .venv-lint/checkov: make test-tools")
    for name, files in VALUES.items():
        objects = [flat for found in render(helm, Combination.of(name, files)) for flat in flattened(found)]
        (folder / f"{name}.yaml").write_text(yaml.dump_all(objects))
    command = [CHECKOV, "--directory", folder, "--framework", "kubernetes", "--skip-download", "--quiet"]
    ran = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, timeout=120, check=False)
    report: dict[str, Any] = json.loads(ran.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    found = set()
    for each in report["results"]["failed_checks"]:
        kind, _, name = each["resource"].split(".", 2)
        found.add((each["check_id"], f"{kind}/{name}"))
    return found


def flattened(found: Object) -> list[Object]:
    """The object in a namespace; of a RayService, which linters do not know, the pods that it becomes."""
    if found["kind"] != "RayService":
        return [{**found, "metadata": {"namespace": "assay", **found["metadata"]}}]
    pods = []
    for _, template in pods_of([found]):
        part = template["spec"]["containers"][0]["name"].removeprefix("ray-")
        metadata = {**template["metadata"], "name": f"{found['metadata']['name']}-{part}", "namespace": "assay"}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return pods
