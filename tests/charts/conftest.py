"""The real Helm, and the schemas of everything the chart may render."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from charts.schemas import Schemas


@pytest.fixture(scope="session")
def helm(tool: Callable[[str], Path]) -> Path:
    return tool("helm")


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas()
