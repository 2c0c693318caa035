"""Renders charts/assay with the real Helm."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts/assay"
KUBERNETES = ("1.35.0", "1.36.0", "1.37.0")

Object = dict[str, Any]


@dataclass(frozen=True)
class Combination:
    """name: of the case; files: values files of the chart, in order; sets: what `--set-json` says over them."""

    name: str
    files: tuple[str, ...]
    sets: tuple[tuple[str, str], ...] = ()
    release: str = "trial"

    @classmethod
    def of(cls, name: str, files: Sequence[str] = ("laptop",), release: str = "trial", **sets: Any) -> Combination:
        """sets: values by their path, with a double underscore for each dot."""
        texts = tuple((path.replace("__", "."), json.dumps(value)) for path, value in sets.items())
        return cls(name, tuple(f"values-{file}.yaml" for file in files), texts, release)


def run_helm(helm: Path, combination: Combination, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    command = [str(helm), "template", combination.release, str(chart), "--namespace", "assay"]
    command += ["--kube-version", KUBERNETES[-1]]
    for file in combination.files:
        command += ["--values", str(chart / file)]
    for path, value in combination.sets:
        command += ["--set-json", f"{path}={value}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def render(helm: Path, combination: Combination, chart: Path = CHART) -> tuple[Object, ...]:
    """Every object, hooks and tests among them. AssertionError with Helm's words where it refuses."""
    ran = run_helm(helm, combination, chart)
    assert ran.returncode == 0, ran.stderr
    return parsed(ran.stdout)


def parsed(text: str) -> tuple[Object, ...]:
    return tuple(found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found)


def of_kind(objects: Sequence[Object], kind: str) -> dict[str, Object]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pods_of(objects: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """(component, pod template) of everything that becomes pods."""
    for found in objects:
        templates: list[Object] = []
        match found["kind"]:
            case "Pod":
                templates = [found]
            case "Deployment" | "StatefulSet" | "Job":
                templates = [found["spec"]["template"]]
            case "RayService":
                cluster = found["spec"]["rayClusterConfig"]
                templates = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        for template in templates:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template
