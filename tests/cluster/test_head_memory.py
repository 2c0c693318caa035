"""gcsFaultTolerance, with the Redis of infra/addons: a Ray head dies, and its cluster goes on without it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from conftest import REPOSITORY

from cluster.images import REDIS
from cluster.kubernetes import Kubernetes, Object, is_ready, until
from cluster.release import Release, callers, failed, outage


def redis(image: str) -> list[Object]:
    """infra/addons/redis.yaml without a volume: no pod of it dies in this test. image: in place of its own."""
    objects = list(yaml.safe_load_all((REPOSITORY / "infra/addons/redis.yaml").read_text()))
    (stateful,) = (found for found in objects if found["kind"] == "StatefulSet")
    del stateful["spec"]["volumeClaimTemplates"], stateful["spec"]["persistentVolumeClaimRetentionPolicy"]
    pod = stateful["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "data", "emptyDir": {}}]
    if image:
        pod["containers"][0]["image"] = image
    return objects


@pytest.fixture(scope="module")
def remembered(kubernetes: Kubernetes, loaded: None) -> Iterator[Release]:
    made = Release(
        kubernetes, "assay", "assay", "services.moe_router.enabled=false", "gcsFaultTolerance.enabled=true",
        "gcsFaultTolerance.redisAddress=redis.assay-redis:6379", "gcsFaultTolerance.existingSecret=assay-redis",
    )  # fmt: skip
    try:
        for namespace in ("assay-redis", made.namespace):
            kubernetes.kubectl("create", "namespace", namespace)
            password = ("--from-literal=password=one-of-the-test",)
            kubernetes.kubectl("create", "secret", "generic", "assay-redis", "-n", namespace, *password)
        kubernetes.run("kubectl", "apply", "-f", "-", input=yaml.safe_dump_all(redis(REDIS if kubernetes.own else "")))
        kubernetes.kubectl("rollout", "status", "statefulset/redis", "-n", "assay-redis", "--timeout=120s")
        made.install()
        made.wait_until_served("tom_verifier")
        yield made
    finally:
        made.uninstall()
        kubernetes.kubectl("delete", "namespace", "assay-redis", timeout=180)


def test_a_head_that_dies_takes_no_worker_with_it(remembered: Release, figure: Callable[..., None]) -> None:
    (worker,) = remembered.ray_pods("tom_verifier", "worker")
    until("the worker is ready", 60, lambda: is_ready(remembered.ray_pods("tom_verifier", "worker")[0]))
    with callers(remembered, 20) as calls:
        time.sleep(5)
        (head,) = remembered.ray_pods("tom_verifier", "head")
        remembered.delete_pod(head, force=True)
        until(
            "another head", 180,
            lambda: any(is_ready(pod) for pod in remembered.ray_pods("tom_verifier", "head") if pod != head),
        )  # fmt: skip
        remembered.wait_until_served("tom_verifier")
        time.sleep(10)
    bad = failed(calls)
    figure("head killed, Redis remembers: seconds until calls are answered again", outage(calls))
    figure("head killed, Redis remembers: calls failed of all", f"{len(bad)} of {len(calls)}")
    assert {found["code"] for found in bad} <= {"UNAVAILABLE"}, json.dumps(bad[:3])
    assert all(found["retry_after_s"] for found in bad), json.dumps(bad[:3])
    (after,) = remembered.ray_pods("tom_verifier", "worker")
    assert after["metadata"]["uid"] == worker["metadata"]["uid"]
    assert [each["restartCount"] for each in after["status"]["containerStatuses"]] == [0]
