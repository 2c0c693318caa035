"""A Kubernetes, the images in it, the chart installed once, and a small model that really was trained."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.moe_router.conftest import MICRO
from distributions import REPOSITORY, SERVICES, Environment, build, new_environment

from assay.artifacts.store import ArtifactStore
from assay.cancel import CancelToken
from assay.config import Config
from assay.progress import silent
from assay.zoo.store import ensure_model, ensure_text
from cluster.images import archives
from cluster.kubernetes import Kubernetes, own_cluster
from cluster.release import CHART, Release, local_volume

FIGURES = REPOSITORY / "build/cluster-figures.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Kubernetes]:
    if own_cluster() is None and not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a Kubernetes: root and the script `cluster` in the folder of ASSAY_TOOLS, or KUBECONFIG")
    found = Kubernetes(None if os.environ.get("KUBECONFIG") else own_cluster())
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def loaded(kubernetes: Kubernetes) -> None:
    """The images are on the node: of our own cluster. A user's has them already (infra/clusters says how for kind)."""
    if not kubernetes.own:
        return
    tag = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    kubernetes.load(archives(tag))


@pytest.fixture(scope="session")
def figure() -> Callable[..., None]:
    """`figure("name", 3.2)`: keeps and prints what was measured; nothing is asserted of it here."""

    def keep(name: str, value: Any) -> None:
        FIGURES.parent.mkdir(exist_ok=True)
        known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"figures": {}}
        known |= {"date": datetime.date.today().isoformat(), "cores": os.cpu_count()}
        shown = round(value, 3) if isinstance(value, float) else value
        known["figures"][name] = {"value": shown, "load_average": [round(load, 1) for load in os.getloadavg()]}
        FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        print(f"\n{name}: {shown}")

    return keep


@pytest.fixture(scope="session")
def release(kubernetes: Kubernetes, loaded: None, figure: Callable[..., None]) -> Iterator[Release]:
    """values-laptop.yaml as it is, but that MinIO's data outlives its pod."""
    folder = Path(tempfile.mkdtemp(prefix="assay-cluster-"))
    storage = local_volume(kubernetes, folder / "minio") if kubernetes.own else ""
    made = Release(kubernetes, "trial", "assay-test", f"minio.storageClass={storage}")
    try:
        begun = time.monotonic()
        made.install()
        made.wait_until_served("moe_router", "tom_verifier")
        figure("from `helm install` to the first answered call of both services, s", time.monotonic() - begun)
        yield made
    finally:
        made.uninstall()
        if storage:
            kubernetes.kubectl("delete", "pv,storageclass", storage)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Trained:
    """A model and a text in a store of this machine. model, text: digests."""

    artifacts: ArtifactStore
    store: str
    model: str
    text: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    store = (tmp_path_factory.mktemp("trained") / "store").as_uri()
    artifacts = Config(store=store).open_artifacts()
    text = ensure_text(artifacts)
    model = ensure_model(artifacts, MICRO, seed=0, cancel=CancelToken(), progress=silent, text=text)
    return Trained(artifacts, store, model, text)


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install ./shared` gives: no server, no torch."""
    made = new_environment(tmp_path_factory.mktemp("client"))
    wheels = [build(REPOSITORY / "shared", tmp_path_factory.mktemp("platform"))]
    wheels += [build(SERVICES[name], tmp_path_factory.mktemp(name)) for name in ("moe_router", "tom_verifier")]
    made.install(*map(str, wheels))
    return made
