"""`assay moe-router` as a person types it: each command prints the digest that the next one takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ASSAY = Path(sys.executable).with_name("assay")
SMALL = ("--sequences", "24", "--sequence-tokens", "64")


def assay(store: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASSAY_STORE": store, "COLUMNS": "200"}
    return subprocess.run(
        [ASSAY, "moe-router", *arguments], env=environment, capture_output=True, text=True, timeout=240
    )


def document(store: str, *arguments: str) -> dict[str, Any]:
    done = assay(store, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_from_a_directory_to_an_evaluation_and_back(trained: Any, tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    model = str(trained.artifacts.path(trained.model))
    text = str(trained.artifacts.path(trained.text))
    statistics = document(store, "calibrate", model, "--text", text, *SMALL)["statistics"]
    scored = document(store, "importance", model, "--text", text, *SMALL, "--metric", "frequency")
    planned = assay(store, "plan", statistics, scored["importance"], "--target", "1.3")
    assert planned.returncode == 0, planned.stderr
    before, after = map(_number, re.findall(r"expert bytes ([\d,]+) -> ([\d,]+)", planned.stdout)[0])
    assert after <= before
    plan = planned.stdout.split()[-1]
    applied = document(store, "apply", plan)
    assert applied["epoch"] == "1"
    evaluated = assay(store, "evaluate", applied["balanced_model"], "--text", text, *SMALL)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "nats per token" in evaluated.stdout
    assert "no plan" in assay(store, "revert", model, "--expected-epoch", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("describe", "no-such-label"), 3, "no-such-label"),
        (("describe", "/nowhere/at/all"), 3, "/nowhere/at/all"),
        (("plan", "sha256:" + "0" * 64, "sha256:" + "1" * 64), 3, "there is no artifact"),
        (("plan", "a", "b", "--bits", "5"), 2, "5"),
        (("calibrate", "--nonsense"), 2, "nonsense"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = assay((tmp_path / "store").as_uri(), *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _number(text: str) -> int:
    return int(text.replace(",", ""))
