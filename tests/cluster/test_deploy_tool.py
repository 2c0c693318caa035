"""`assay platform` on a real cluster: a release from preflight to its end, and one that can not become ready."""

from __future__ import annotations

import base64
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.kubernetes import Kubernetes
from cluster.load import load
from cluster.release import LAPTOP, Release, assay


class Tool:
    """The deploy tool, for one release."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def __call__(self, command: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        release = self._release
        named = ("--release", release.name, "--namespace", release.namespace)
        return release.kubernetes.run(assay(), "platform", command, *named, *arguments, check=check, timeout=400)


@pytest.fixture(scope="module")
def made(kubernetes: Kubernetes, loaded: None) -> Release:
    """One front that computes by itself."""
    return Release(kubernetes, "tool", "assay-tool")


@pytest.fixture(scope="module")
def tool(made: Release) -> Tool:
    return Tool(made)


VALUES = (
    "--values", LAPTOP, "--set", "services.moe_router.enabled=false",
    "--set", "services.tom_verifier.engine.placement=in-process",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(made: Release, tool: Tool) -> Iterator[str]:
    """What the tool said."""
    try:
        yield tool("install", "--yes", *VALUES).stdout
    finally:
        tool("uninstall", "--yes", "--delete-data", "--delete-namespace", check=False)


def test_preflight_finds_nothing_missing(tool: Tool) -> None:
    done = tool("preflight", *VALUES)
    assert " fail " not in done.stdout, done.stdout


def test_what_will_be_made_is_shown_and_no_secret_in_it(installed: str, made: Release) -> None:
    assert "Deployment" in installed
    secret = made.kubernetes.get("secret", made.namespace, "tool-assay-store")["data"]["secretKey"]
    assert secret not in installed


def test_status_and_smoke_see_the_release(installed: str, made: Release, tool: Tool) -> None:
    told = json.loads(tool("status", "--json").stdout)
    (front,) = (row for row in told["rows"] if row["part"] == made.front("tom_verifier"))
    assert (front["ready"], front["wanted"], front["restarts"], front["operations"]) == (1, 1, 0, 0)
    answers = json.loads(tool("smoke", "--json").stdout)
    assert [(each["service"], each["ok"]) for each in answers["services"]] == [("tom_verifier", True)]


def test_a_release_that_cannot_become_ready_is_rolled_back_and_the_old_one_served_all_along(
    installed: str, made: Release, tool: Tool, figure: Callable[..., None]
) -> None:
    with load(made, calls=1200, rate=20) as report:
        begun = time.monotonic()
        done = tool("upgrade", "--yes", *VALUES, "--set", "image.tag=nowhere", "--timeout", "20s", check=False)
        took = time.monotonic() - begun
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "rolled back" in told
    assert "assay-tom-verifier-engine:nowhere" in told  # why
    figure("an upgrade that could not become ready, rolled back after, s", took)
    figure("the same: statuses of calls meanwhile", report["statusCodeDistribution"])
    assert report["statusCodeDistribution"] == {"OK": 1200}
    history = json.loads(made.helm("history", "-o", "json").stdout)
    assert [each["status"] for each in history if each["status"] == "deployed"] == ["deployed"]
    assert "Rollback" in history[-1]["description"]


def test_a_bundle_holds_logs_and_no_secret(installed: str, made: Release, tool: Tool, tmp_path: Path) -> None:
    secrets = made.kubernetes.get("secret", made.namespace, "tool-assay-store")["data"]
    tool("bundle", "--output", tmp_path / "bundle.tar.gz")
    with tarfile.open(tmp_path / "bundle.tar.gz") as bundle:
        files = {name.name: bundle.extractfile(name) for name in bundle.getmembers() if name.isfile()}
        content = {name: file.read() for name, file in files.items() if file}
    assert any(b"assay.access" in text for text in content.values()), sorted(content)
    for secret in secrets.values():
        assert not any(secret.encode() in text or base64.b64decode(secret) in text for text in content.values())


def test_uninstall_leaves_nothing(installed: str, made: Release, tool: Tool) -> None:
    tool("uninstall", "--yes", "--delete-data", "--delete-namespace")
    assert made.kubernetes.kubectl("get", "namespace", made.namespace, "--ignore-not-found") == ""
