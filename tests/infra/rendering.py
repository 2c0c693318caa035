"""Renders the chart as the documents of infra/ install it, and reads their manifests."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml
from charts.rendering import CHART, KUBERNETES, REPOSITORY, Object

INFRA = REPOSITORY / "infra"
RELEASE = NAMESPACE = "assay"


@functools.cache
def render_release(helm: Path, *arguments: str) -> tuple[Object, ...]:
    """What `helm install assay` with these arguments, paths relative to the repository, puts into namespace assay."""
    command = [helm, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", KUBERNETES[-1], *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY)
    assert ran.returncode == 0, ran.stderr
    return tuple(found for found in yaml.load_all(ran.stdout, Loader=yaml.CSafeLoader) if found)


def values(*files: str) -> tuple[str, ...]:
    """`--values` for each file of the chart ("gpu") or of the repository ("infra/...yaml")."""
    paths = [file if "/" in file else f"charts/assay/values-{file}.yaml" for file in files]
    return tuple(argument for path in paths for argument in ("--values", path))


def manifests(path: Path) -> Iterator[Object]:
    yield from (found for found in yaml.safe_load_all(path.read_text()) if found)
