"""Every combination renders, and every object of it is one that Kubernetes would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from charts.matrix import combinations
from charts.rendering import Combination, render
from charts.schemas import Schemas

MATRIX = combinations()


def test_the_matrix_is_wide() -> None:
    assert len({(each.files, each.sets) for each in MATRIX}) >= 40


@pytest.mark.parametrize("combination", MATRIX, ids=lambda each: each.name)
def test_it_renders_objects_that_are_valid(helm: Path, schemas: Schemas, combination: Combination) -> None:
    objects = render(helm, combination)
    named = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(named) == len(set(named))
    faults = {f"{kind} {name}": schemas.faults(found) for (kind, name), found in zip(named, objects, strict=True)}
    assert {name: found for name, found in faults.items() if found} == {}
