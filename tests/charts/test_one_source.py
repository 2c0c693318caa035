"""The chart says of services and engines what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.server.service import find_service, installed_services
from charts.rendering import CHART, REPOSITORY, Combination, of_kind, render


@pytest.fixture(scope="module")
def serve_configs(helm: Path) -> dict[str, dict[str, Any]]:
    objects = render(helm, Combination.of("gpu", ("gpu",)))
    return {
        name: yaml.safe_load(found["spec"]["serveConfigV2"]) for name, found in of_kind(objects, "RayService").items()
    }


def test_every_service_is_there_under_its_name() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    found = {name: service["grpcService"] for name, service in values["services"].items()}
    assert found == {name: find_service(name).full_name for name in installed_services()}


def test_engines_are_configured_as_infra_ray_does(serve_configs: dict[str, dict[str, Any]]) -> None:
    published = yaml.safe_load((REPOSITORY / "infra/ray/serve.yaml").read_text())
    everywhere = {key: value for key, value in published.items() if key != "applications"}
    by_name = {application["name"]: application for application in published["applications"]}
    for config in serve_configs.values():
        (application,) = config["applications"]
        assert {key: value for key, value in config.items() if key != "applications"} == everywhere
        twin = by_name[application["name"]]
        assert {**application, "args": set(application["args"])} == {
            **twin,
            "args": set(twin["args"]) | {"ongoing"},
        }


def test_serve_takes_the_configuration(serve_configs: dict[str, dict[str, Any]]) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    from ray.serve.schema import ServeDeploySchema

    from assay.engine.serve_app import application

    for config in serve_configs.values():
        for app in ServeDeploySchema.model_validate(config).applications:
            application(app.name, "probe.engine", app.args)  # refuses what Serve would


def test_ray_s_environment_is_infra_ray_s(helm: Path) -> None:
    lines = (REPOSITORY / "infra/ray/cluster.env").read_text().splitlines()
    wanted = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for found in of_kind(render(helm, Combination.of("gpu", ("gpu",))), "RayService").values():
        cluster = found["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            given = {each["name"]: each.get("value") for each in container["env"]}
            assert {name: given[name] for name in given if name.startswith("RAY_")} == wanted


def test_the_operator_is_told_which_ray_it_is(helm: Path) -> None:
    pinned = [line.strip() for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line[:5] == "ray=="]
    for found in of_kind(render(helm, Combination.of("gpu", ("gpu",))), "RayService").values():
        assert [f"ray=={found['spec']['rayClusterConfig']['rayVersion']}"] == pinned
