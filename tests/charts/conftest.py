"""The real Helm, and the schemas of everything the chart may render."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charts.custom_resources import CustomResources
from charts.schemas import Schemas


@pytest.fixture(scope="session")
def helm(tool: Callable[[str], Path]) -> Path:
    return tool("helm")


@pytest.fixture(scope="session")
def custom_resources() -> Iterator[CustomResources]:
    found = CustomResources()
    yield found
    found.close()


@pytest.fixture(scope="session")
def schemas(custom_resources: CustomResources) -> Schemas:
    return Schemas(custom_resources)
