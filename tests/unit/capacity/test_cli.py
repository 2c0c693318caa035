"""`assay capacity` as people and programs use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from assay.capacity.cli import capacity
from assay.errors import InvalidInput

from .small import values

REPOSITORY = Path(__file__).resolve().parents[3]
PLATFORM = str(REPOSITORY / "infra/capacity/platform.toml")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(capacity, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def small(tmp_path: Path) -> str:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(values(services__probe__calls={"per_s": 4, "step_s": 0.5})))
    return str(file)


def test_a_plan_says_what_it_stands_on() -> None:
    said = run("plan", PLATFORM)
    assert "services.*.front.calls_per_core_s" in said
    assert "assumed" in said
    document = json.loads(run("plan", PLATFORM, "--json"))
    assert document["figures"]["pools.large.price_per_node_hour"]["basis"] == "assumed"
    assert {each["name"] for each in document["plan"]["services"]} == {
        "inference_optimizer", "tom_verifier", "moe_router",
    }  # fmt: skip


def test_the_page_shows_what_is_printed_and_names_files_that_are_there() -> None:
    page = (REPOSITORY / "docs/capacity.md").read_text()
    table = run("plan", PLATFORM).splitlines()[:4]
    assert "\n".join(table) in page
    (upgrade,) = (line for line in page.splitlines() if line.startswith("$ helm upgrade"))
    files = [REPOSITORY / each for each in re.findall(r"-f (\S+)", upgrade) if each != "planned.yaml"]
    assert [path.name for path in files if path.is_file()] == ["values-gpu.yaml"]


def test_bursts_beyond_the_planned_replicas_are_told() -> None:
    # Simulated, the same file fails 14 % of these calls: bursts of 90 a second on replicas for 40.
    assert "services.inference_optimizer.calls.arrivals: bursty, 90 a second at the peak" in run("plan", PLATFORM)


def test_what_is_simulated_is_called_so(small: str, tmp_path: Path) -> None:
    assert run("simulate", small, "--hours", "0.2", "--warmup", "60").startswith(
        "SIMULATED: nothing below was measured"
    )
    assert run("sweep", small, "--hours", "0.2", "--warmup", "60", "--loads", "1,2").count("SIMULATED") == 1
    plot = tmp_path / "run.svg"
    document = json.loads(run("simulate", small, "--hours", "0.2", "--warmup", "60", "--plot", str(plot), "--json"))
    assert document["simulated"] is True
    assert (
        json.loads(run("sweep", small, "--hours", "0.2", "--loads", "1", "--warmup", "0", "--json"))["simulated"]
        is True
    )
    tree = ElementTree.parse(plot)
    assert any("simulated: small" in (node.text or "") for node in tree.iter())


def test_an_upgrade_is_asked_for_by_service_and_time(small: str) -> None:
    document = json.loads(run("simulate", small, "--hours", "0.2", "--upgrade", "probe@300", "--warmup", "0", "--json"))
    wanted = {sample["time_s"]: sample["target"]["probe"] for sample in document["samples"]}
    assert max(wanted[time] for time in wanted if time < 300) < max(wanted[time] for time in wanted if time > 300)
    with pytest.raises(InvalidInput, match="upgrade: 'probe'; SERVICE@SECONDS"):
        run("simulate", small, "--upgrade", "probe")


def test_a_recording_is_held_against_its_simulation(small: str, tmp_path: Path) -> None:
    # Two calls at a time every 2 s, on replicas that take 0.5 s on average; recorded as 100 ms each.
    recorded = tmp_path / "trace.csv"
    recorded.write_text("".join(f"{2 * (number // 2)},100\n" for number in range(400)))
    document = json.loads(run("compare", small, str(recorded), "--service", "probe", "--json"))
    compared = document["compared"]
    assert (compared["calls"], compared["failed"]) == (400, 0)
    assert compared["per_s"] == pytest.approx(1.0, abs=0.01)
    assert compared["recorded_ms"]["p50"] == 100
    assert 200 < compared["simulated_ms"]["p50"] < 500  # half a second on average, exponential
    assert document["ratios"]["p50"] == pytest.approx(compared["simulated_ms"]["p50"] / 100)
    with pytest.raises(InvalidInput, match="service: other has no calls"):
        run("compare", small, str(recorded), "--service", "other")


def test_the_formulas_errors_are_printed() -> None:
    rows = json.loads(run("check", "--arrivals", "1000", "--json"))["rows"]
    assert len(rows) == 60
    assert {"formula_s", "error", "p99_error"} <= rows[0].keys()
