"""Installing, upgrading, rolling back, removing: with Helm on a real API server, scheduler and controllers.

Pods are bound by the real scheduler to nodes that KWOK plays: they "run" at once, where they are let in.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import MinioServer

from apiserver.conftest import NUMBERS
from apiserver.scene import CHART, Scene, namespace, node
from apiserver.server import ApiServer, apply
from assay.errors import AssayError, FailedPrecondition, NotFound
from assay.platform import ownership
from assay.platform.api import Cluster
from assay.platform.helm import Helm, Values
from assay.platform.ownership import CREATED, LABEL
from assay.platform.preflight import Plan, preflight
from assay.platform.readiness import Listener
from assay.platform.release import NotReady, Release
from assay.platform.removal import prepare_removal, remove

PATIENCE_S = 30.0
STAGES = Path(__file__).with_name("stages.yaml")
# No engine of its own: what runs Ray clusters is not here.
ALONE = ("defaults.engine.placement=in-process", "defaults.front.replicas=1")
TOO_MUCH = "defaults.front.resources.requests.cpu=500"
FRONT = "trial-assay-moe-router"


def ignore(parts: object) -> None:
    """Hears nothing."""


@pytest.fixture(scope="module")
def run_server(
    tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, helm_on_path: None
) -> Iterator[ApiServer]:
    """An API server whose pods are made, scheduled and, on one played node, run."""
    kwok = tool("kwok")
    server = ApiServer(tool("kubelite"), tmp_path_factory.mktemp("run"))
    server.start()
    try:
        config = str(server.kubeconfig())
        server.run_part("kube-controller-manager", [
            "--kubeconfig", config, "--leader-elect=false", "--secure-port", "0", "--controllers",
            "deployment-controller,replicaset-controller,statefulset-controller,namespace-controller,"
            "garbage-collector-controller,serviceaccount-controller",
        ])  # fmt: skip
        server.run_part("kube-scheduler", ["--kubeconfig", config, "--leader-elect=false", "--secure-port", "0"])
        server.run_part("kwok", ["--kubeconfig", config, "--config", str(STAGES), "--manage-all-nodes=false",
                                 "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                                 "--node-lease-duration-seconds=0"], kwok)  # fmt: skip
        played = node("node-1")
        played["metadata"]["annotations"] = {"kwok.x-k8s.io/node": "fake"}
        apply(server.cluster(), played)
        yield server
    finally:
        server.stop()


@pytest.fixture
def there(run_server: ApiServer, store: MinioServer) -> Scene:
    """A namespace of the test's own that was there before, with the store's keys in it."""
    name = f"r{next(NUMBERS)}"
    scene = Scene(run_server, store, name)
    scene.make_secret()
    return scene


def release(scene: Scene, *sets: str) -> Release:
    return Release(scene.plan(*ALONE, *sets), scene.cluster)


def installed(scene: Scene, *sets: str) -> Release:
    made = release(scene, *sets)
    made.install(made.prepare_install(), PATIENCE_S, ignore)
    return made


def live(scene: Scene, name: str = FRONT) -> dict[str, Any]:
    return scene.cluster.get(f"/apis/apps/v1/namespaces/{scene.target.namespace}/deployments/{name}")


def test_a_life(there: Scene):
    first = installed(there)
    helm = Helm(there.target)
    assert [each.status for each in helm.history()] == ["deployed"]
    assert there.cluster.get(f"/api/v1/namespaces/{there.target.namespace}")["metadata"]["labels"][LABEL] == "trial"
    with pytest.raises(FailedPrecondition, match="is there already"):
        first.prepare_install()

    second = release(there, "defaults.front.replicas=2", "telemetry.logLevel=DEBUG")
    prepared = second.prepare_upgrade()
    changed = {f"{each.kind}/{each.name}": each.text for each in prepared.changes if each.verb != "same"}
    assert list(changed) == [f"Deployment/{FRONT}"]
    lines = [line for line in changed[f"Deployment/{FRONT}"].splitlines() if line[0] in "+-"]
    assert [line.split(maxsplit=1)[-1] for line in lines[2:]] == [
        "replicas: 1", "replicas: 2", "value: INFO", "value: DEBUG",
    ]  # fmt: skip
    seen = second.upgrade(prepared, PATIENCE_S, ignore)
    assert [(part.ready, part.wanted) for part in seen.parts] == [(2, 2)]
    assert seen.gaps == []

    back = release(there)
    seen = back.rollback(back.prepare_rollback(None), PATIENCE_S, ignore)
    assert live(there)["spec"]["replicas"] == 1
    assert [each.number for each in helm.history()] == [1, 2, 3]

    removal = prepare_removal(there.cluster, there.target)
    remove(there.cluster, there.target, removal, timeout_s=PATIENCE_S)
    left = there.cluster.get(f"/api/v1/namespaces/{there.target.namespace}")
    assert LABEL not in left["metadata"]["labels"]
    assert there.cluster.find(f"/api/v1/namespaces/{there.target.namespace}/secrets/keys") is not None
    assert helm.history() == []


def test_an_upgrade_that_does_not_get_ready_is_rolled_back_and_the_old_one_serves_all_along(there: Scene):
    installed(there)
    pod_before = pods(there)
    broken = release(there, TOO_MUCH)
    with pytest.raises(NotReady) as raised:
        broken.upgrade(broken.prepare_upgrade(), 3.0, ignore)
    assert raised.value.rolled_back == 1
    assert "rolled back to revision 1, which served all along" in raised.value.message
    # The real scheduler's words.
    assert [(each.reason, "Insufficient cpu" in each.detail) for each in raised.value.why] == [("Unschedulable", True)]
    history = Helm(there.target).history()
    assert [(each.number, each.status) for each in history] == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert live(there)["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "250m"
    assert pods(there) == pod_before
    # Helm calls all three deployed; the second never was ready, and the third is the first.
    with pytest.raises(NotFound, match="no earlier revision"):
        broken.prepare_rollback(None)


def pods(scene: Scene) -> set[str]:
    """Pods that run."""
    path = f"/api/v1/namespaces/{scene.target.namespace}/pods"
    return {found["metadata"]["uid"] for found in scene.cluster.list(path) if found["status"]["phase"] == "Running"}


def test_an_upgrade_that_helm_refuses_leaves_the_other_helm_alone(there: Scene):
    """Another began after the look."""
    installed(there)
    late = release(there, "defaults.front.replicas=2")
    prepared = late.prepare_upgrade()
    plan = late.plan
    other = subprocess.Popen(
        ["helm", "upgrade", "trial", str(plan.chart), "-n", there.target.namespace, "--kubeconfig",
         str(there.target.kubeconfig), "--reuse-values", "--set", TOO_MUCH, "--wait", "--timeout", "60s"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        during = [(1, "deployed"), (2, "pending-upgrade")]
        wait_for(lambda: [(each.number, each.status) for each in Helm(there.target).history()] == during)
        with pytest.raises(FailedPrecondition, match=r"another operation.*in progress") as raised:
            late.upgrade(prepared, 2.0, ignore)
        assert not isinstance(raised.value, NotReady)
        assert [(each.number, each.status) for each in Helm(there.target).history()] == during
    finally:
        other.kill()
        other.wait()


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def impatient() -> Listener:
    """Whoever waits presses Ctrl-C at the second look: Helm has been started then, and ends what it does."""
    looks = count()

    def hear(parts: object) -> None:
        if next(looks):
            raise KeyboardInterrupt

    return hear


@pytest.mark.slow
def test_what_was_not_waited_for_counts_as_served_once_it_is_ready(there: Scene):
    installed(there)
    for sets in ("defaults.front.replicas=2", TOO_MUCH):
        upgraded = release(there, sets)
        with pytest.raises(KeyboardInterrupt):
            upgraded.upgrade(upgraded.prepare_upgrade(), PATIENCE_S, impatient())
        if sets != TOO_MUCH:
            wait_for(lambda: live(there)["status"].get("availableReplicas") == 2)
    history = Helm(there.target).history()
    assert [(each.number, each.status) for each in history] == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    mended = release(there)
    base = mended.prepare_upgrade().base
    assert base is not None
    assert base.number == 2
    base = mended.prepare_rollback(None).base
    assert base is not None
    assert base.number == 2


def test_single_values_go_over_the_releases(there: Scene):
    """And over a newer chart's own, of which the release has not heard."""
    installed(there, "telemetry.logLevel=DEBUG")
    newer = there.server.home / "newer"
    shutil.copytree(CHART, newer, dirs_exist_ok=True)
    values = (newer / "values.yaml").read_text()
    (newer / "values.yaml").write_text(values + "\nadded: {inside: 1}\n")
    schema = json.loads((newer / "values.schema.json").read_text())
    schema["properties"]["added"] = {"type": "object"}
    (newer / "values.schema.json").write_text(json.dumps(schema))
    marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "added"}}
    (newer / "templates/added.yaml").write_text(f"{json.dumps(marker)[:-1]}, \"data\": {{ "
                                                '"inside": {{ .Values.added.inside | quote }} }}\n')  # fmt: skip
    plan = Plan(there.target, newer, Values(sets=("defaults.front.replicas=2",)))
    changed = [each for each in Release(plan, there.cluster).prepare_upgrade().changes if each.verb != "same"]
    assert [(each.verb, each.name) for each in changed] == [("create", "added"), ("change", FRONT)]
    lines = [line.split(maxsplit=1)[-1] for line in changed[1].text.splitlines() if line[0] in "+-"]
    assert lines[2:] == ["replicas: 1", "replicas: 2"]
    assert [each.result for each in preflight(plan, there.cluster) if each.name == "secret keys"] == ["ok"]


@pytest.mark.slow
def test_an_installation_that_does_not_get_ready_stays_to_be_looked_at_and_can_be_mended(there: Scene):
    broken = release(there, TOO_MUCH)
    with pytest.raises(NotReady, match=r"0 of 1.*Insufficient cpu.*assay platform uninstall"):
        broken.install(broken.prepare_install(), 2.0, ignore)
    assert [each.status for each in Helm(there.target).history()] == ["deployed"]
    mended = release(there)
    assert mended.upgrade(mended.prepare_upgrade(), PATIENCE_S, ignore).ready


def test_a_namespace_of_its_own_comes_and_goes(run_server: ApiServer, store: MinioServer):
    scene = Scene(run_server, store, "made-by-the-tool")
    made = installed(scene)
    meta = scene.cluster.get("/api/v1/namespaces/made-by-the-tool")["metadata"]
    assert meta["annotations"][CREATED] == meta["labels"][LABEL] == "trial"
    assert {each.verb for each in made.prepare_upgrade().changes} == {"same"}
    removal = prepare_removal(scene.cluster, scene.target, delete_namespace=True)
    remove(scene.cluster, scene.target, removal, timeout_s=PATIENCE_S)
    gone = scene.cluster.find("/api/v1/namespaces/made-by-the-tool")
    assert gone is None or gone["status"]["phase"] == "Terminating"


def test_a_namespace_that_others_moved_into_is_not_removed(run_server: ApiServer, store: MinioServer):
    scene = Scene(run_server, store, "shared-later")
    installed(scene)
    pods_before = pods(scene)
    for theirs in (SERVICE, CONFIG, SECRET, REPLICAS):
        made = theirs | {"metadata": {"name": "theirs", "namespace": "shared-later"}}
        scene.put(made)
        if theirs is REPLICAS:  # whose pod has an owner, as the release's have
            wait_for(lambda: len(pods(scene)) == len(pods_before) + 1)
        with pytest.raises(FailedPrecondition, match=f"^{theirs['kind']} theirs.*is not the release's"):
            prepare_removal(scene.cluster, scene.target, delete_namespace=True)
        scene.cluster.delete(scene.cluster.path_of(made["apiVersion"], made["kind"], "shared-later", "theirs"))
        wait_for(lambda: pods(scene) == pods_before)
    removal = prepare_removal(scene.cluster, scene.target, delete_namespace=True)
    scene.put(CONFIG | {"metadata": {"name": "theirs", "namespace": "shared-later"}})  # after the question
    with pytest.raises(FailedPrecondition, match=r"the release is gone.*ConfigMap theirs"):
        remove(scene.cluster, scene.target, removal, timeout_s=PATIENCE_S)
    assert scene.cluster.get("/api/v1/namespaces/shared-later")["status"]["phase"] == "Active"


LABELS = {"app": "theirs"}
SERVICE = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"kept": "by hand"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "stringData": {"kept": "by hand"}}
REPLICAS = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "theirs", "image": "theirs:1"}], "terminationGracePeriodSeconds": 0},
        },
    },
}


def state_of(scene: Scene) -> dict[str, str]:
    """Everything in the namespace, with the version of each."""
    where = scene.target.namespace
    found = {"": scene.cluster.get(f"/api/v1/namespaces/{where}")["metadata"]["resourceVersion"]}
    for version, kind in (("v1", "Secret"), ("v1", "Service"), ("apps/v1", "Deployment")):
        for each in scene.cluster.list(scene.cluster.path_of(version, kind, where)):
            found[each["metadata"]["name"]] = each["metadata"]["resourceVersion"]
    return found


@pytest.mark.parametrize("owner", ["other", ""])
def test_what_is_not_its_own_is_never_touched(there: Scene, owner: str):
    labels = {LABEL: owner} if owner else {}
    there.put(namespace(there.target.namespace, **labels))
    meta = {"name": "theirs", "namespace": there.target.namespace}
    there.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})
    before = state_of(there)
    tried = release(there)
    for act in (
        tried.prepare_install,
        tried.prepare_upgrade,
        lambda: tried.prepare_rollback(None),
        lambda: prepare_removal(there.cluster, there.target, delete_data=True, delete_namespace=True),
        lambda: tried.install(prepared_elsewhere(there), PATIENCE_S, ignore),
    ):
        with pytest.raises(
            FailedPrecondition, match=r"belongs to the release other|is in use|carries no release's label"
        ):
            act()
    assert state_of(there) == before


def test_of_two_that_take_an_empty_namespace_at_once_one_gets_it(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    look = ownership.read_namespace

    def overtaken(cluster: Cluster, name: str) -> Any:
        found = look(cluster, name)
        monkeypatch.setattr(ownership, "read_namespace", look)
        ownership.take(cluster, replace(scene.target, release="faster"))
        return found

    monkeypatch.setattr(ownership, "read_namespace", overtaken)
    with pytest.raises(FailedPrecondition, match="just been changed by another; try again"):
        ownership.take(scene.cluster, scene.target)
    left = scene.cluster.get(f"/api/v1/namespaces/{scene.target.namespace}")
    assert left["metadata"]["labels"][LABEL] == "faster"


def prepared_elsewhere(scene: Scene) -> Any:
    """As if the namespace had become another's between showing and doing."""
    elsewhere = Scene(scene.server, scene.store, f"{scene.target.namespace}-else")
    return release(elsewhere).prepare_install()


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_kubernetes_own_namespaces_are_refused(run_server: ApiServer, store: MinioServer, namespace: str):
    with pytest.raises(FailedPrecondition, match="is Kubernetes' own"):
        release(Scene(run_server, store, namespace)).prepare_install()


def test_what_the_server_refuses_is_said_before_helm_runs(there: Scene):
    refused = ("defaults.front.resources.requests.memory=2Gi", "defaults.front.resources.limits.memory=1Gi")
    with pytest.raises(
        FailedPrecondition, match=rf"would refuse Deployment {FRONT}.*less than or equal to memory limit"
    ):
        release(there, *refused).prepare_install()
    # In a namespace that is not there yet nobody can be asked; it goes again where the server then refuses.
    elsewhere = Scene(there.server, there.store, "refused-later")
    tried = release(elsewhere, *refused)
    prepared = tried.prepare_install()
    with pytest.raises(FailedPrecondition, match="would refuse"):
        tried.install(prepared, PATIENCE_S, ignore)
    gone = elsewhere.cluster.find("/api/v1/namespaces/refused-later")
    assert gone is None or gone["status"]["phase"] == "Terminating"
    assert Helm(elsewhere.target).history() == []


def test_the_diff_is_against_what_is_live_and_hides_secrets(scene: Scene):
    before = scene.plan("administrators[0]=spiffe://x/a")
    scene.put(namespace(scene.target.namespace, **{LABEL: "trial"}))
    Helm(scene.target).install(before.chart, before.values, timeout_s=PATIENCE_S)
    # Somebody scaled it by hand and changed the token, and a value goes away.
    where = scene.target.namespace
    scene.cluster.patch(f"/apis/apps/v1/namespaces/{where}/deployments/{FRONT}", {"spec": {"replicas": 5}})
    token = {"data": {"token": "cGxhbnRlZA==", "extra": "cGxhbnRlZC10b28="}}
    scene.cluster.patch(f"/api/v1/namespaces/{where}/secrets/trial-assay-engine-token", token)
    prepared = Release(scene.plan("defaults.front.cacheSize=9Gi"), scene.cluster).prepare_upgrade()
    found = {each.name: each for each in prepared.changes if each.verb != "same"}
    assert set(found) == {FRONT}
    lines = {line for line in found[FRONT].text.splitlines() if line[0] in "+-"}
    assert {"-  replicas: 5", "+  replicas: 2", "-        - name: ASSAY_ADMINISTRATORS"} <= lines
    assert {"-          sizeLimit: 4Gi", "+          sizeLimit: 9Gi"} <= lines
    assert "cGxhbnRlZA" not in "".join(each.text for each in prepared.changes)


@pytest.mark.slow
def test_data_stay_unless_told_otherwise(there: Scene):
    kept = release(there, "minio.enabled=true", "minio.image=minio:1", "store.url=", "minio.storageClass=none")
    with pytest.raises(NotReady, match="helm install"):  # the hook's job has nobody to run it
        kept.install(kept.prepare_install(), 2.0, ignore)
    claim = f"/api/v1/namespaces/{there.target.namespace}/persistentvolumeclaims/data-trial-assay-minio-0"
    assert there.cluster.find(claim) is not None
    removal = prepare_removal(there.cluster, there.target)
    assert removal.volumes == ("data-trial-assay-minio-0",)
    remove(there.cluster, there.target, removal, timeout_s=PATIENCE_S)
    assert there.cluster.find(claim) is not None
    job = f"/apis/batch/v1/namespaces/{there.target.namespace}/jobs/trial-assay-bucket"
    assert there.cluster.find(job) is None
    # The label says whose the data are: the release may come back.
    assert there.cluster.get(f"/api/v1/namespaces/{there.target.namespace}")["metadata"]["labels"][LABEL] == "trial"
    with pytest.raises(NotFound):
        prepare_removal(there.cluster, there.target)
    with pytest.raises(AssayError):
        remove(there.cluster, there.target, removal, timeout_s=PATIENCE_S)
