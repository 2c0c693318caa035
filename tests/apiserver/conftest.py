"""One real API server for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, MinioServer, find_tool

from apiserver.scene import Scene, lay_out
from apiserver.server import ApiServer

NUMBERS = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"api_server", "run_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def helm_on_path(tool: Callable[[str], Path]) -> Iterator[None]:
    """Commands look for helm on PATH, as they do at a user's."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", str(tool("helm").parent), prepend=os.pathsep)
        # Programs that live for a moment, or on a machine of their own, need not save memory.
        environment.setenv("GOGC", "400")
        yield


def definition(name: str) -> dict[str, Any]:
    """KubeRay's definition of a kind, e.g. rayservices: of v1, without its many descriptions; it is served sooner."""
    tools = Path(os.environ.get("ASSAY_TOOLS", REPOSITORY / "../shared/tools"))
    file = tools / f"kuberay/ray.io_{name}.yaml"
    if not file.is_file():
        pytest.skip(f"needs KubeRay's definitions: put {file.name} into kuberay/ in the folder that ASSAY_TOOLS names")
    found = dict(yaml.load(file.read_text(), Loader=yaml.CSafeLoader))
    found["spec"]["versions"] = [each for each in found["spec"]["versions"] if each["name"] == "v1"]
    return dict(_terse(found))


def _terse(found: Any) -> Any:
    if isinstance(found, list):
        return [_terse(each) for each in found]
    if isinstance(found, dict):
        return {
            key: _terse(value) for key, value in found.items() if not (key == "description" and isinstance(value, str))
        }
    return found


@pytest.fixture(scope="session")
def api_server(
    tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, helm_on_path: None
) -> Iterator[ApiServer]:
    """An API server that serves RayServices, with nodes for all that the scene installs."""
    server = ApiServer(tool("kubelite"), tmp_path_factory.mktemp("apiserver"))
    server.start()
    try:
        lay_out(server, definition("rayservices"))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A MinIO with a bucket `assay`."""
    server = MinioServer(find_tool("minio"), tmp_path_factory.mktemp("store") / "data")
    server.start()
    server.make_bucket("assay")
    yield server
    server.kill()


@pytest.fixture
def scene(api_server: ApiServer, store: MinioServer) -> Scene:
    """A namespace of the test's own in which everything is as it should be."""
    scene = Scene(api_server, store, f"t{next(NUMBERS)}")
    scene.make_secret()
    return scene
