"""Pods die while an operation runs: it ends in the same artifact, and calls in between say when to try again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster.conftest import Trained
from cluster.kubernetes import is_ready, until
from cluster.release import Calibration, Release, callers, failed, insisting, outage

SEQUENCES = 16384  # in 256 steps


@pytest.fixture(scope="module")
def stored(release: Release, trained: Trained) -> tuple[str, str]:
    """Digests of the model and the text, which the cluster's store has too."""
    put = {kind: release.put(trained.artifacts.path(getattr(trained, kind)), kind) for kind in ("model", "text")}
    return put["model"], put["text"]


@pytest.fixture(scope="module")
def undisturbed(release: Release, stored: tuple[str, str], figure: Callable[..., None]) -> dict[str, object]:
    begun = time.monotonic()
    result = Calibration(release, *stored, SEQUENCES).result()
    figure("a calibration undisturbed, s", time.monotonic() - begun)
    return dict(result)


def front_deleted(release: Release) -> None:
    (front,) = release.pods("moe_router")
    release.delete_pod(front)


def worker_deleted(release: Release) -> None:
    (worker,) = release.ray_pods("moe_router", "worker")
    release.delete_pod(worker, force=True)


def head_deleted(release: Release) -> None:
    (head,) = release.ray_pods("moe_router", "head")
    release.delete_pod(head, force=True)


def store_restarted(release: Release) -> None:
    (store,) = release.pods("minio", "store")
    release.delete_pod(store, force=True)


def all_evicted(release: Release) -> None:
    """As draining the node would: each pod is asked away, again and again where a budget forbids it for now."""
    pods = release.kubernetes.pods(release.namespace, f"app.kubernetes.io/instance={release.name}")
    for pod in pods:
        until(f"{pod['metadata']['name']} evicted", 120, lambda pod=pod: release.evict(pod))


@pytest.mark.parametrize("fault", [front_deleted, worker_deleted, head_deleted, store_restarted, all_evicted])
def test_an_operation_outlives(
    fault: Callable[[Release], None],
    release: Release,
    stored: tuple[str, str],
    undisturbed: dict[str, object],
    figure: Callable[..., None],
) -> None:
    begun = time.monotonic()
    running = Calibration(release, *stored, SEQUENCES)
    time.sleep(8)  # some steps are done by then, and most are not
    assert running.running()
    with callers(release, 0.5, stored[0]) as calls:
        fault(release)
        result = running.result(seconds=600)
    what = fault.__name__.replace("_", " ")
    figure(f"the same, {what}, s", time.monotonic() - begun)
    assert result == undisturbed
    figure(f"{what}: calls in between that failed, of all", f"{len(failed(calls))} of {len(calls)}")
    assert_told(calls)
    release.wait_until_served("moe_router", "tom_verifier")


def assert_told(calls: list[dict[str, Any]]) -> None:
    """Those that failed say when to try again, which a client does by itself.

    RESOURCE_EXHAUSTED is a front's that has as many calls waiting for its engine as it takes.
    """
    bad = failed(calls)
    others = [found for found in bad if found["code"] not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")]
    assert others == [], json.dumps(others[:3])
    assert all(found["retry_after_s"] for found in bad), json.dumps([f for f in bad if not f["retry_after_s"]][:3])


def test_a_head_that_dies_costs_calls_a_pause_that_says_when_to_try_again(
    release: Release, figure: Callable[..., None]
) -> None:
    until("a head", 120, lambda: release.ray_pods("tom_verifier", "head"))
    release.wait_until_served("tom_verifier")
    with callers(release, 20) as calls, insisting(release) as insistent:
        time.sleep(5)
        (head,) = release.ray_pods("tom_verifier", "head")
        release.delete_pod(head, force=True)
        time.sleep(2)
        release.wait_until_served("tom_verifier")
        time.sleep(10)
    bad = failed(calls)
    figure("head killed: seconds until calls are answered again", outage(calls))
    figure("head killed: calls failed of all", f"{len(bad)} of {len(calls)}")
    figure("head killed: longest call of a client that tries again as told, s", max(insistent["seconds"]))
    figure("head killed: calls which that client could not make good", len(insistent["failures"]))
    assert calls[-1]["code"] == "OK"
    assert_told(calls)


def test_a_worker_that_dies_is_replaced(release: Release, figure: Callable[..., None]) -> None:
    (worker,) = release.ray_pods("tom_verifier", "worker")
    with callers(release, 20) as calls:
        time.sleep(3)
        release.delete_pod(worker, force=True)
        until("another worker", 120, lambda: any(is_ready(pod) for pod in release.ray_pods("tom_verifier", "worker")))
        release.wait_until_served("tom_verifier")
        time.sleep(5)
    bad = failed(calls)
    figure("worker killed: seconds until calls are answered again", outage(calls))
    figure("worker killed: calls failed of all", f"{len(bad)} of {len(calls)}")
    assert calls[-1]["code"] == "OK"
    assert_told(calls)
