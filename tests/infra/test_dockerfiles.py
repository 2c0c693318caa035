"""Dockerfiles, by hadolint's rules: none broken, and none waived without a reason."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from charts.absent import absent
from charts.rendering import REPOSITORY

HADOLINT = REPOSITORY / ".venv-lint/bin/hadolint"
INFRA = REPOSITORY / "infra"
DOCKERFILES = sorted(path for path in INFRA.rglob("*Dockerfile*") if path.suffix != ".dockerignore")
MISTAKES = {
    "a moving tag": ("FROM python:latest\n", "DL3007"),
    "no tag": ("FROM python\n", "DL3006"),
    "root at the end": ("FROM python:3.11\nUSER root\n", "DL3002"),
    "a pipe whose failure nobody sees": ("FROM python:3.11\nRUN wget -O - x | tar x\n", "DL4006"),
    "an instruction that is none": ("FROM python:3.11\nRUNN true\n", "DL1000"),
}


def findings(text: str) -> list[str]:
    """`line: code message` of every finding, informational ones too."""
    if not HADOLINT.is_file():
        absent("needs hadolint in .venv-lint: make test-tools")
    command = [HADOLINT, "--no-color", "--format", "json", "-"]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return [f"{each['line']}: {each['code']} {each['message']}" for each in json.loads(ran.stdout)]


def test_there_are_some_where_images_are_described() -> None:
    assert DOCKERFILES or not (INFRA / "images").is_dir()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_nothing_is_found(path: Path) -> None:
    assert findings(path.read_text()) == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_what_is_ignored_has_a_reason(path: Path) -> None:
    """`# hadolint ignore=CODE` stands under a comment that says why."""
    lines = path.read_text().splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if re.match(r"#\s*hadolint\s", line):
            assert re.match(r"#\s*(?!hadolint)\w.{15,}", above), f"{line}: say why, in the line above"


@pytest.mark.parametrize(("text", "code"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(text: str, code: str) -> None:
    assert any(f" {code} " in found for found in findings(text))
