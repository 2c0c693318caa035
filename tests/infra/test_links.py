"""What the documents of infra/ point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.rendering import INFRA, REPOSITORY

DOCUMENTS = sorted(INFRA.rglob("*.md"))
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")
PATH = re.compile(r"(?<![\w/.-])(?:infra|charts|docs|tests)/[\w./-]*\w")


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(INFRA)))
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    for target, anchor in LINK.findall(text):
        if target.startswith("http"):
            continue
        found = (document.parent / target).resolve() if target else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target + anchor
    for path in PATH.findall(text):
        assert (REPOSITORY / path).exists(), path
