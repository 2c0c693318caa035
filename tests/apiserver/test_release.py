"""Installing, upgrading, rolling back, removing: with Helm on a real API server, scheduler and controllers.

Pods are bound by the real scheduler to nodes that KWOK plays: they "run" at once, where they are let in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MinioServer

from apiserver.conftest import NUMBERS
from apiserver.scene import Scene, namespace, node
from apiserver.server import ApiServer, apply
from assay.errors import AssayError, FailedPrecondition, NotFound
from assay.platform.helm import Helm
from assay.platform.ownership import CREATED, LABEL
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


def pods(scene: Scene) -> set[str]:
    """Pods that run."""
    path = f"/api/v1/namespaces/{scene.target.namespace}/pods"
    return {found["metadata"]["uid"] for found in scene.cluster.list(path) if found["status"]["phase"] == "Running"}


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
    meta = {"name": "theirs", "namespace": "shared-later"}
    scene.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})
    removal = prepare_removal(scene.cluster, scene.target, delete_namespace=True)
    with pytest.raises(FailedPrecondition, match="Service theirs is in it"):
        remove(scene.cluster, scene.target, removal, timeout_s=PATIENCE_S)
    assert scene.cluster.get("/api/v1/namespaces/shared-later")["status"]["phase"] == "Active"


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
