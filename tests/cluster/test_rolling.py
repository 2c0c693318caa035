"""New versions under load: no call is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import REPOSITORY, find_tool

from cluster.client import STORY
from cluster.kubernetes import until
from cluster.release import Release

CALLS, RATE = 1500, 50


@contextmanager
def load(release: Release, calls: int, rate: int) -> Iterator[dict[str, Any]]:
    """So many counted calls at so many a second, by a client that nobody here wrote. The dict has its report after."""
    process = release.kubernetes.start_program(
        find_tool("ghz"), "--insecure", "--protoset", REPOSITORY / "protos/published.binpb",
        "--call", "assay.tom_verifier.v1.TomVerifierService/ParseStory", "-d", json.dumps({"story": STORY}),
        "--rps", str(rate), "-n", str(calls), "-c", "20", "--timeout", "20s", "-O", "json",
        release.address("tom_verifier"),
    )  # fmt: skip
    report: dict[str, Any] = {}
    try:
        yield report
        assert process.poll() is None, "the load was over before the change was"
    finally:
        said, _ = process.communicate(timeout=calls / rate + 120)
    report |= json.loads(said)


def milliseconds(report: dict[str, Any], percentage: int) -> float:
    found = [each["latency"] for each in report["latencyDistribution"] if each["percentage"] == percentage]
    return float(found[0]) / 1e6


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_front_is_upgraded_and_rolled_back(release: Release, turn: int, figure: Callable[..., None]) -> None:
    before = {pod["metadata"]["name"] for pod in release.pods("tom_verifier")}
    with load(release, CALLS, RATE) as report:
        release.upgrade("services.tom_verifier.front.graceSeconds=21")
        between = {pod["metadata"]["name"] for pod in release.pods("tom_verifier")}
        release.helm("rollback", "--wait")
        after = {pod["metadata"]["name"] for pod in release.pods("tom_verifier")}
    assert not before & between
    assert not between & after
    figure(f"front upgraded and rolled back, time {turn}: statuses", report["statusCodeDistribution"])
    figure(f"front upgraded and rolled back, time {turn}: p50, p99, ms", [milliseconds(report, p) for p in (50, 99)])
    assert report["statusCodeDistribution"] == {"OK": CALLS}


def test_an_engine_moves_to_a_new_ray_cluster(release: Release, figure: Callable[..., None]) -> None:
    old = release.active_cluster("tom_verifier")
    with load(release, 4000, 20) as report:
        release.upgrade("services.tom_verifier.engine.sharedMemory=640Mi")
        until("a new cluster serves", 170, lambda: release.active_cluster("tom_verifier") not in ("", old))
    new = release.active_cluster("tom_verifier")
    until(
        "the old cluster gone", 120,
        lambda: old not in release.kubernetes.kubectl("get", "raycluster", "-n", release.namespace, "-o", "name"),
    )  # fmt: skip
    assert release.active_cluster("tom_verifier") == new
    figure("RayService upgraded under 20 calls a second: statuses", report["statusCodeDistribution"])
    figure("RayService upgraded: p50, p99, ms", [milliseconds(report, percentage) for percentage in (50, 99)])
    assert report["statusCodeDistribution"] == {"OK": 4000}
