"""`make demo`: a model trained from nothing, its card, and the second run that trains nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

ASSAY = Path(sys.executable).with_name("assay")
FIRST_S, SECOND_S = 12 * 60, 60
SCHEMA = json.loads(resources.files("assay.checkup").joinpath("report-card.schema.json").read_text())


def demo(home: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished command and the seconds of one core it took, which neighbours on the machine do not change."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {"ASSAY_STORE": (home / "store").as_uri(), "XDG_STATE_HOME": str(home / "state")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [ASSAY, "demo", *arguments], env=environment, cwd=home, capture_output=True, text=True, timeout=3 * FIRST_S
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.slow
@pytest.mark.timeout(4 * FIRST_S)
def test_from_nothing_to_a_card_and_again_in_under_a_minute(tmp_path: Path) -> None:
    pytest.importorskip("assay_moe_router")
    first, _ = demo(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "moe_router" in first.stdout
    assert "Load-Imbalance Score" in first.stdout
    assert first.stdout.splitlines()[-1] == f"report card: {tmp_path / 'report/report.html'}"
    document = json.loads((tmp_path / "report/report.json").read_text())
    Draft202012Validator(SCHEMA).validate(document)
    assert document["model"]["name"] == "qwen3-moe-tiny"
    kinds = {artifact["kind"] for artifact in document["artifacts"]}
    assert {"text", "model", "section"} <= kinds
    page = (tmp_path / "report/report.html").read_text()
    assert page.count("<svg") >= 5  # every plot passes as it is drawn
    assert "is not shown" not in page
    assert "data:image/svg" not in page
    second, seconds = demo(tmp_path, "--json")
    assert second.returncode == 0, second.stderr
    again = json.loads(second.stdout)
    assert again["model"]["digest"] == document["model"]["digest"]
    assert again["sections"][0]["artifact"] == document["sections"][0]["artifact"]
    assert seconds < SECOND_S
