"""The plan as the chart's values: the real Helm takes them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from assay.capacity.plan import plan
from assay.capacity.read import read_specification
from assay.capacity.values import to_yaml, values_of

from .small import specification

REPOSITORY = Path(__file__).resolve().parents[3]
PLATFORM = REPOSITORY / "infra/capacity/platform.toml"


def test_yaml_says_what_the_values_say() -> None:
    needs = read_specification(PLATFORM)[0]
    values = values_of(needs, plan(needs))
    assert yaml.safe_load(to_yaml(values)) == values


def test_engines_of_operations_go_to_nothing_and_those_of_calls_stay() -> None:
    needs = read_specification(PLATFORM)[0]
    planned = {each.name: each.replicas for each in plan(needs).services}
    engines = {name: each["engine"] for name, each in values_of(needs, plan(needs))["services"].items()}
    assert engines["moe_router"]["replicas"] == {"min": 0, "max": 32}
    assert engines["tom_verifier"]["replicas"]["min"] == planned["tom_verifier"]
    assert engines["inference_optimizer"]["ongoing"] > 1


def test_a_service_without_gpus_has_no_pool() -> None:
    needs = specification(services__probe__gpus=0, pools__gpu__gpus_per_node=0)
    values = values_of(needs, plan(needs))
    assert values["services"]["probe"]["engine"]["pool"] == ""
    assert "pools" not in values


def test_helm_renders_what_was_planned(tool: Callable[[str], Path], tmp_path: Path) -> None:
    helm = tool("helm")
    needs = read_specification(PLATFORM)[0]
    planned = {each.name: each for each in plan(needs).services}
    file = tmp_path / "planned.yaml"
    file.write_text(to_yaml(values_of(needs, plan(needs))))
    chart = REPOSITORY / "charts/assay"
    command = [
        helm,
        "template",
        "trial",
        chart,
        "--kube-version",
        "1.37.0",
        "--values",
        chart / "values-gpu.yaml",
        "--values",
        file,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    found = [each for each in yaml.safe_load_all(ran.stdout) if each]
    engines = {
        each["metadata"]["labels"]["app.kubernetes.io/name"]: each for each in found if each["kind"] == "RayService"
    }
    assert len(engines) == 3
    for engine in engines.values():
        application = yaml.safe_load(engine["spec"]["serveConfigV2"])["applications"][0]
        service = planned[application["name"]]
        least, _, most = application["args"]["replicas"].partition(":")
        group = engine["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
        assert int(least) == group["minReplicas"]
        assert int(least) in (0, service.replicas)
        assert int(most) == group["maxReplicas"] >= service.replicas
        selector = needs.pools[needs.services[application["name"]].pool].node_selector
        assert group["template"]["spec"]["nodeSelector"] == selector
    fronts = [each["spec"] for each in found if each["kind"] == "HorizontalPodAutoscaler"]
    assert {(each["minReplicas"], each["maxReplicas"]) for each in fronts} == {(2, 6)}


def test_helm_refuses_what_the_schema_does_not_know(tool: Callable[[str], Path], tmp_path: Path) -> None:
    helm = tool("helm")
    file = tmp_path / "wrong.yaml"
    file.write_text(to_yaml({"services": {"moe_router": {"engine": {"replicas": {"min": -1}}}}}))
    command = [helm, "template", "trial", REPOSITORY / "charts/assay", "--kube-version", "1.37.0", "--values", file]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode != 0
    assert "replicas" in ran.stderr
