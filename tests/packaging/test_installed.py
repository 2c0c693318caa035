"""What the built wheels can do where nothing else is installed: a client, and a front, both without torch and ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from distributions import SERVICES, Environment

HEAVY = ("torch", "ray", "transformers", "numpy")
LOADS_COMMANDS = """
from importlib.metadata import entry_points
for entry in entry_points(group="assay.commands"):
    entry.load()
    print(entry.name)
"""
# What a client is, wherever the rest of the distribution may need more.
CLIENT = ("assay.client", "assay.cli", "assay.artifacts", "assay.checkup", "assay.operations", "assay.zoo.cli")
# Modules of those packages that only a server or an engine imports.
NOT_CLIENT = ("assay.artifacts.s3", "assay.checkup.plot")


def lacking(environment: Environment, *packages: str) -> dict[str, str]:
    done = environment.run("python", str(Path(__file__).with_name("imports.py")), *packages)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("module", HEAVY)
def test_a_client_has_no(client: Environment, module: str) -> None:
    done = client.run("python", "-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr


def test_a_clients_modules_import_without_any_extra(client: Environment) -> None:
    missing = lacking(client, "assay")
    of_client = {module: what for module, what in missing.items() if module.startswith(CLIENT) or ".v1." in module}
    assert set(of_client) <= set(NOT_CLIENT), of_client


def test_what_a_client_lacks_is_what_the_extras_bring(client: Environment) -> None:
    # A dependency forgotten in the metadata would show here under its own name.
    extras = {"certifi", "cryptography", "grpc_health", "grpc_reflection", "matplotlib", "minio", "numpy"}
    extras |= {"prometheus_client", "ray", "safetensors", "tokenizers", "torch", "transformers", "urllib3"}
    missing = lacking(client, "assay")
    assert {module: what for module, what in missing.items() if what not in extras} == {}
    assert "torch" in missing.values()


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("artifacts", "--help"), ("zoo", "--help")])
def test_a_clients_commands_answer(client: Environment, arguments: tuple[str, ...]) -> None:
    done = client.run("assay", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "assay" in done.stdout


def test_every_command_of_the_platform_loads_in_a_client(client: Environment) -> None:
    done = client.run("python", "-c", LOADS_COMMANDS)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {"artifacts", "checkup", "zoo"}


def test_a_client_without_endpoint_says_what_to_do(client: Environment) -> None:
    done = client.run("assay", "artifacts", "ls")
    assert done.returncode == 5  # a precondition
    assert "ASSAY_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["torch", "ray", "transformers"])
def test_a_front_has_no(front: Environment, module: str) -> None:
    assert f"No module named '{module}'" in front.run("python", "-c", f"import {module}").stderr


def test_a_front_imports_all_but_what_computes(front: Environment) -> None:
    computes = (
        "assay.artifacts.s3",
        "assay.capacity.plot",
        "assay.checkup.plot",
        "assay.compute.",
        "assay.engine.",
        "assay.models.",
        "assay.zoo.",
    )
    missing = lacking(front, "assay", *(f"assay_{name}" for name in SERVICES))
    assert {m: what for m, what in missing.items() if m.startswith("assay.") and not m.startswith(computes)} == {}
    parts = {f"assay_{name}.{part}" for name in SERVICES for part in ("cli", "jobs", "service", "servicer", "steps")}
    assert {module: what for module, what in missing.items() if module in parts} == {}


def test_every_service_adds_its_command_and_its_front(front: Environment) -> None:
    done = front.run("python", "-c", LOADS_COMMANDS.replace("assay.commands", "assay.services"))
    assert (done.returncode, set(done.stdout.split())) == (0, set(SERVICES)), done.stderr
    for name in SERVICES:
        done = front.run("assay", name.replace("_", "-"), "--help")
        assert done.returncode == 0, done.stderr
