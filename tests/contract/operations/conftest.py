"""What the tests of operations share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of an empty store in a directory."""
    return (tmp_path / "store").as_uri()


@pytest.fixture(autouse=True)
def _no_cache_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the probe's engine notes what it has computed, one line a shard: "pid shard"."""
    file = tmp_path / "ledger"
    file.touch()
    monkeypatch.setenv("ASSAY_PROBE_LEDGER", str(file))
    return file
