"""What trainings that were cut off leave on disk, and for how long."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import pytest

from assay.errors import Cancelled
from assay_tom_verifier.kept_trainings import KEPT_S, kept


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(tmp_path))
    return tmp_path / "tom-verifier"


def cut_off(operation, part="verifier"):
    with suppress(Cancelled), kept(operation, part) as folder:
        (folder / "judging").mkdir(parents=True)
        (folder / "judging" / "state").write_text("half")
        raise Cancelled
    return folder


def test_a_training_that_is_through_leaves_nothing(cache):
    for part in ("generator", "verifier"):
        with kept("one", part) as folder:
            (folder / "reading").mkdir(parents=True)
    assert list(cache.iterdir()) == []


def test_what_was_cut_off_is_found_again_and_outlives_others(cache):
    left = cut_off("one")
    with kept("two", "generator") as other:
        other.mkdir(parents=True)
    with kept("one", "verifier") as again:
        assert again == left
        assert (again / "judging" / "state").read_text() == "half"
    assert list(cache.iterdir()) == []


def test_what_nobody_came_back_for_is_removed_in_the_end(cache):
    forgotten, recent = cut_off("one"), cut_off("two")
    old = time.time() - KEPT_S - 60
    for path in (forgotten.parent, *forgotten.parent.rglob("*")):
        os.utime(path, (old, old))
    with kept("three", "verifier"):
        assert not forgotten.parent.exists()
        assert recent.exists()
