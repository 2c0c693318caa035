"""What the pages say is there: settings, targets of the Makefile, linked files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from distributions import REPOSITORY

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "shared/*.md", "services/*/*.md") for path in REPOSITORY.glob(pattern)
)
SOURCES = ("shared/assay", "services", "tests/conftest.py", "tests/bench")
VARIABLE = re.compile(r"\bASSAY_[A-Z0-9_]*[A-Z0-9]\b")
# Parts of names put together in code, and marks for a program's own children that nobody sets.
NOT_SETTINGS = {"ASSAY_TLS", "ASSAY_COMPLETE", "ASSAY_LOCAL_RAY", "ASSAY_LOCAL_RAY_FOLDER", "ASSAY_MOE_ROUTER_ENDPOINT"}


def sources() -> Iterator[Path]:
    for name in SOURCES:
        path = REPOSITORY / name
        yield from chain(path.rglob("*.py"), [path] if path.is_file() else [])


def variables(text: str) -> set[str]:
    return set(VARIABLE.findall(text)) - NOT_SETTINGS


def test_every_setting_in_the_code_is_explained_and_every_explained_one_is_in_the_code() -> None:
    explained = variables((REPOSITORY / "docs/running.md").read_text())
    read = set().union(*(variables(path.read_text()) for path in sources()))
    assert explained == read


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()


def test_make_bench_runs_every_bench() -> None:
    (listed,) = re.findall(r"^BENCHES := (.+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    there = {path.stem for path in (REPOSITORY / "tests/bench").glob("*.py") if path.stem != "__init__"}
    assert sorted(listed.split()) == sorted(there)


def test_the_index_of_decisions_lists_every_page() -> None:
    folder = REPOSITORY / "docs/adr"
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in folder.glob("[0-9]*.md"))
