"""The commands, as people and programs run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from apiserver.scene import Scene
from assay.platform.helm import Helm

ASSAY = Path(sys.executable).with_name("assay")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(scene: Scene) -> Run:
    """`run("preflight", ...)` on the scene's release, with its values where `plan` is set."""

    def command(
        name: str, *arguments: str, plan: bool = True, said: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        where = ["--release", "trial", "-n", scene.target.namespace, "--kubeconfig", str(scene.server.kubeconfig())]
        sets = [text for each in scene.sets for text in ("--set", each)] if plan else []
        return subprocess.run(
            [ASSAY, "platform", name, *where, *sets, *arguments],
            env=os.environ | environment, input=said, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return command


def test_preflight_ends_with_5_where_something_is_missing(run: Run):
    done = run("preflight", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    done = run("preflight", "--gpu-memory", "96Gi")
    assert done.returncode == 5
    assert "a replica needs 96 GiB" in done.stdout
    assert done.stdout.splitlines()[-1] == "15 checks: 1 failed, 0 warnings"


def test_nothing_is_done_unless_agreed_to(run: Run, scene: Scene):
    done = run("install", said="n\n")
    assert done.returncode == 130
    assert "+ Deployment/trial-assay-moe-router" in done.stdout
    assert Helm(scene.target).history() == []
    refused = run("install", "--json")
    assert refused.returncode == 2
    assert "add --yes" in json.loads(refused.stdout)["error"]["message"]


def test_an_installation_that_is_not_ready_says_why_and_ends_with_5(run: Run, scene: Scene):
    done = run("install", "--yes", "--timeout", "1s")
    assert done.returncode == 5
    assert "not ready within 1 s: trial-assay-moe-router (0 of 2)" in done.stderr
    status = run("status", "--json", plan=False)
    assert {row["part"] for row in json.loads(status.stdout)["rows"]} >= {"trial-assay-moe-router", "GPUs of gpu"}
    smoke = run("smoke", "--timeout", "1s", plan=False)
    assert smoke.returncode == 9
    assert "no pod of trial-assay-moe-router is ready" in smoke.stdout
    gone = run("uninstall", "--yes", plan=False)
    assert gone.returncode == 0, gone.stderr
    assert "trial is removed" in gone.stdout


def test_what_the_chart_refuses_is_said_in_its_words(run: Run):
    done = run("preflight", "--set", "transport=tls")
    assert done.returncode == 2
    assert "at '/transport': value must be one of" in done.stderr


def test_without_helm_it_says_what_to_install(run: Run, tmp_path: Path):
    done = run("preflight", PATH=str(tmp_path))
    assert done.returncode == 5
    assert done.stderr == "assay: there is no `helm` on PATH; install Helm 3 (https://helm.sh) and try again\n"


def test_without_the_package_it_names_the_extra(tmp_path: Path):
    (tmp_path / "kubernetes.py").write_text("raise ModuleNotFoundError(name='kubernetes')")
    done = subprocess.run([ASSAY, "platform", "status"], env=os.environ | {"PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 5
    assert "pip install 'assay-platform[deploy]'" in done.stderr


def test_help_needs_no_package_of_kubernetes():
    done = subprocess.run([sys.executable, "-X", "importtime", ASSAY, "platform", "--help"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported & {"kubernetes", "grpc", "rich", "yaml", "minio"} == set()
    for command in ("preflight", "install", "upgrade", "rollback", "uninstall", "status", "smoke", "bundle"):
        assert f"  {command}" in done.stdout
