"""infra/ray says what the code means."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.engine.serve_mode import MODES

pytestmark = pytest.mark.ray

FOLDER = Path(__file__).resolve().parents[3] / "infra/ray"


def test_the_environment_file_is_the_chosen_mode() -> None:
    lines = [line for line in (FOLDER / "cluster.env").read_text().splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == {"RAY_USAGE_STATS_ENABLED": "0", **MODES["haproxy"]}


def test_the_serve_config_is_one_and_names_the_servicer_and_args_of_the_code() -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    yaml = pytest.importorskip("yaml")
    from ray.serve.schema import ServeDeploySchema

    from assay.engine.serve_app import GRPC_SERVICER, application

    config = ServeDeploySchema.model_validate(yaml.safe_load((FOLDER / "serve.yaml").read_text()))
    assert config.grpc_options.grpc_servicer_functions == [GRPC_SERVICER]
    for app in config.applications:
        assert app.import_path == "assay.engine.serve_app:build"
        assert app.name == app.args["service"]
        application(app.name, "probe.engine", app.args)  # refuses what Serve would
