"""Every distribution, built once and installed once as a client and once as a front."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributions import KERNELS, REPOSITORY, SERVICES, Environment, build, new_environment


@pytest.fixture(scope="session")
def platform_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY / "shared", tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="session")
def kernels_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(KERNELS, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def service_wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Service -> its wheel."""
    return {name: build(source, tmp_path_factory.mktemp(name)) for name, source in SERVICES.items()}


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory, platform_wheel: Path) -> Environment:
    """What `pip install ./shared` gives."""
    environment = new_environment(tmp_path_factory.mktemp("client"))
    environment.install(str(platform_wheel))
    return environment


@pytest.fixture(scope="session")
def front(
    tmp_path_factory: pytest.TempPathFactory, platform_wheel: Path, service_wheels: dict[str, Path]
) -> Environment:
    """Every service without its engine: a front, or a client with the services' commands."""
    environment = new_environment(tmp_path_factory.mktemp("front"))
    environment.install(str(platform_wheel), *map(str, service_wheels.values()))
    return environment
