"""New versions under load: no call is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cluster.kubernetes import until
from cluster.load import load, milliseconds
from cluster.release import Release

CALLS, RATE = 1500, 50


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


@pytest.fixture
def room(release: Release) -> Iterator[str]:
    """A node of two cores holds two Ray clusters: one service makes room for the other's second. The setting for it."""
    alone = "services.moe_router.enabled=false"
    release.upgrade(alone)
    until("moe-router's engine gone", 180, lambda: not release.pods("moe_router", "engine"))
    yield alone
    release.upgrade()
    release.wait_until_served("moe_router", "tom_verifier")


def test_an_engine_moves_to_a_new_ray_cluster(release: Release, room: str, figure: Callable[..., None]) -> None:
    release.wait_until_served("tom_verifier")
    old = release.active_cluster("tom_verifier")
    with load(release, 4000, 20) as report:
        release.upgrade(room, "services.tom_verifier.engine.sharedMemory=640Mi")
        until("a new cluster serves", 170, lambda: release.active_cluster("tom_verifier") not in ("", old))
    new = release.active_cluster("tom_verifier")
    until(
        "the old cluster gone",
        120,
        lambda: old not in release.kubernetes.kubectl("get", "raycluster", "-n", release.namespace, "-o", "name"),
    )
    assert release.active_cluster("tom_verifier") == new
    figure("RayService upgraded under 20 calls a second: statuses", report["statusCodeDistribution"])
    figure("RayService upgraded: p50, p99, ms", [milliseconds(report, percentage) for percentage in (50, 99)])
    assert report["statusCodeDistribution"] == {"OK": 4000}
