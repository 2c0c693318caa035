"""A capacity file: read with its sources, refused with the entry's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.capacity.read import read_specification, specification_of
from assay.errors import InvalidInput

from .small import values

REPOSITORY = Path(__file__).resolve().parents[3]
BATCH = {"turn_s": 0.01, "sequence_s": 0.001, "prompt_token_s": 1e-5, "most": 8}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pools": {}}, "pools: is missing; name at least one kind of node"),
        ({"services": {}}, "services: is missing"),
        (
            {"pools__gpu__gpu_memory_gib": None},
            "pools.gpu.gpu_memory_gib: is missing; a number, or {value, basis, source}",
        ),
        ({"pools__gpu__cpus_per_node": "many"}, "pools.gpu.cpus_per_node: is 'many'; a number"),
        ({"pools__gpu__gpus_per_node": 1.5}, "pools.gpu.gpus_per_node: is 1.5; a whole number"),
        ({"pools__gpu__price_per_node_hour": -1}, "pools.gpu.price_per_node_hour: is -1; at least 0"),
        ({"pools__gpu__colour": 3}, "pools.gpu.colour: is unknown here; known are cpus_per_node"),
        ({"pools__gpu__node_selector": "L4"}, "pools.gpu.node_selector: holds texts by name"),
        ({"services__probe__pool": "cpu"}, "services.probe.pool: is 'cpu'; one of gpu"),
        ({"services__probe__gpus": 16}, "services.probe.gpus: is 16; a node of gpu has 8"),
        ({"services__probe__calls": None}, "services.probe: has neither `calls` nor `operations`"),
        ({"services__probe__calls__per_s": 0}, "services.probe.calls.per_s: is 0; more than 0"),
        ({"services__probe__calls__percentile": 99}, "services.probe.calls.percentile: is 99; from 0.5 to 0.99999"),
        ({"services__probe__front__max_replicas": 1}, "services.probe.front.max_replicas: is 1; at least `replicas`"),
        ({"services__probe__batch": BATCH}, "services.probe.calls.prompt_tokens: is missing"),
        ({"services__probe__model": "m"}, "services.probe.model: is 'm'; one of "),
        ({"services__probe__upgrade": "Rolling"}, "services.probe.upgrade: is 'Rolling'; one of NewCluster, None"),
        (
            {"services__probe__calls__step_s": {"value": 1, "basis": "measured"}},
            "services.probe.calls.step_s.source: is missing; say what was run",
        ),
        (
            {"services__probe__calls__step_s": {"value": 1, "basis": "guessed"}},
            "services.probe.calls.step_s.basis: is 'guessed'; one of measured, documented, given, assumed",
        ),
        (
            {"services__probe__calls__arrivals": {"kind": "poisson", "x": 1}},
            "services.probe.calls.arrivals.x: is unknown",
        ),
        ({"margin__upgrades": "some"}, "margin.upgrades: is 'some'; one of one, all, none"),
        ({"speed": 1}, "speed: is unknown here"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value.split(":")[0],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        specification_of(values(**changes))
    assert raised.value.message.startswith(said)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    for name, text, said in (
        ("a.toml", "pools = ", "file: a.toml is no TOML: "),
        ("a.json", "{", "file: a.json is no JSON: "),
        ("b.json", "[]", "file: b.json holds no table"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidInput) as raised:
            read_specification(tmp_path / name)
        assert raised.value.message.startswith(said)


def test_every_number_is_kept_with_its_source() -> None:
    step = {"value": 0.4, "basis": "measured", "source": "bench x, 2026-11-28"}
    specification, figures = specification_of(values(services__probe__calls__step_s=step))
    assert specification.services["probe"].calls.step_s == 0.4
    given = figures["services.probe.calls.step_s"]
    assert (given.basis, given.source) == ("measured", "bench x, 2026-11-28")
    assert figures["services.probe.calls.per_s"].basis == "given"
    # What the file does not say is taken from where it stands.
    assert figures["services.probe.scaling.upscale_delay_s"].basis == "documented"
    assert figures["pools.gpu.provision_s"].basis == "assumed"
    assert all(figure.source for figure in figures.values())


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "infra/capacity").glob("*.toml")))
def test_the_files_that_come_along_are_read(name: str) -> None:
    specification, figures = read_specification(REPOSITORY / "infra/capacity" / name)
    assert specification.services
    prices = [figure for path, figure in figures.items() if path.endswith("price_per_node_hour")]
    assert {price.basis for price in prices} == {"assumed"}  # no price of ours is a fact
