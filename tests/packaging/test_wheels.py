"""The built distributions hold all of the source tree and ask for all they import."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from distributions import REPOSITORY, SERVICES

PLATFORM, KERNELS = "platform", "kernels"
EVERY = (PLATFORM, KERNELS, *SERVICES)


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wheel(
    name: str, platform_wheel: Path, kernels_wheel: Path, service_wheels: dict[str, Path]
) -> Iterator[zipfile.ZipFile]:
    built = {PLATFORM: platform_wheel, KERNELS: kernels_wheel, **service_wheels}[name]
    with zipfile.ZipFile(built) as opened:
        yield opened


def package(name: str) -> Path:
    own = {PLATFORM: REPOSITORY / "shared/assay", KERNELS: REPOSITORY / "kernels/src/assay_kernels"}
    return own[name] if name in own else SERVICES[name] / f"src/assay_{name}"


def metadata(wheel: zipfile.ZipFile) -> Message:
    (path,) = (path for path in wheel.namelist() if path.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(path).decode())


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(wheel: zipfile.ZipFile) -> set[str]:
    """Distributions that a wheel's metadata requires, with any extra."""
    requirements = metadata(wheel).get_all("Requires-Dist", [])
    return {normalised(re.match(r"[\w.-]+", requirement).group()) for requirement in requirements}  # type: ignore[union-attr]


def test_a_wheel_holds_every_file_of_its_package_and_nothing_else(name: str, wheel: zipfile.ZipFile) -> None:
    source = package(name)
    there = {
        str(path.relative_to(source.parent))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    built = {path for path in wheel.namelist() if ".dist-info/" not in path}
    assert built == there


def test_every_folder_of_a_wheel_with_modules_is_a_package(wheel: zipfile.ZipFile) -> None:
    modules = [Path(path) for path in wheel.namelist() if path.endswith(".py")]
    folders = {parent for module in modules for parent in module.parents if parent != Path()}
    assert {folder for folder in folders if folder / "__init__.py" not in modules} == set()


def test_every_proto_has_its_typed_stubs_in_the_platform_wheel(platform_wheel: Path) -> None:
    protos = list((REPOSITORY / "protos/assay").rglob("*.proto"))
    stubs = {
        str(proto.relative_to(REPOSITORY / "protos").with_suffix("")) + ending
        for proto in protos
        for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
    }
    with zipfile.ZipFile(platform_wheel) as wheel:
        assert stubs - set(wheel.namelist()) == set()
    assert len(stubs) == 3 * len(protos) > 0


def test_a_wheel_carries_licence_readme_and_typing_marker(name: str, wheel: zipfile.ZipFile) -> None:
    (licence,) = (path for path in wheel.namelist() if path.endswith("/licenses/LICENSE"))
    assert wheel.read(licence) == (REPOSITORY / "LICENSE").read_bytes()
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"
    assert metadata(wheel).get_payload().strip()
    assert f"{package(name).name}/py.typed" in wheel.namelist()


def test_a_wheel_asks_for_every_distribution_that_it_imports(
    name: str, wheel: zipfile.ZipFile, platform_wheel: Path
) -> None:
    declared = asked_for(wheel)
    if name in SERVICES:
        with zipfile.ZipFile(platform_wheel) as platform:
            declared |= asked_for(platform)
    # An editable installation does not say which packages it has.
    owners = {**packages_distributions(), "assay_kernels": ["assay-kernels"]}
    own = {"assay", f"assay_{name}"}
    undeclared = {
        f"{path.relative_to(REPOSITORY)} imports {top}"
        for path in package(name).rglob("*.py")
        for top in top_level_imports(path)
        if top not in sys.stdlib_module_names | own and not declared & {normalised(n) for n in owners[top]}
    }
    assert undeclared == set()


def top_level_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
