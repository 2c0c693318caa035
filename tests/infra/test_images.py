"""The bake file names every service that is there, with extras that it has, under the names that the chart pulls."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from distributions import REPOSITORY, SERVICES

BAKE = (REPOSITORY / "infra/images/docker-bake.hcl").read_text()
LISTED = dict(re.findall(r'\{ name = "(\w+)", extras = "([\w,]+)" \}', BAKE))


def declared(folder: Path) -> dict[str, list[str]]:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return dict(project["optional-dependencies"])


def test_every_service_is_baked_with_all_extras_it_has() -> None:
    assert {name: sorted(extras.split(",")) for name, extras in LISTED.items()} == {
        name: sorted(declared(folder)) for name, folder in SERVICES.items()
    }


def test_images_bear_the_charts_names_and_version() -> None:
    (tag,) = re.findall(r'variable "TAG" \{ default = "([^"]+)" \}', BAKE)
    assert tag == yaml.safe_load((REPOSITORY / "charts/assay/Chart.yaml").read_text())["appVersion"]
    names = re.findall(r"\$\{REGISTRY\}(assay-.+):\$\{TAG\}", BAKE)
    assert names == [f'assay-${{replace(service.name, "_", "-")}}-{part}' for part in ("front", "engine")]
