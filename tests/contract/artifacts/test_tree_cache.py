"""The cache of trees: callers that come at once, in one process or in several, never wait for each other's use."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.artifacts.cache import TreeCache

NAME = "ab" * 32


def fill(folder: Path) -> None:
    time.sleep(0.02)
    (folder / "a").write_text("1")


def test_who_looked_before_another_filled_it_does_not_wait_until_that_one_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two caches over one folder are two processes. A tree stays in use as long as the process that asked for it lives.
    first, second = TreeCache(tmp_path, 2**20), TreeCache(tmp_path, 2**20)
    looked, filled = threading.Event(), threading.Event()
    look = second._pin

    def look_and_wait(name: str) -> Path | None:
        found = look(name)
        looked.set()
        assert filled.wait(30)
        return found

    monkeypatch.setattr(second, "_pin", look_and_wait)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(second.get, NAME, 1, fill)
        assert looked.wait(30)
        path = first.get(NAME, 1, fill)
        filled.set()
        try:
            assert late.result(timeout=10) == path
        finally:
            first.close()  # or a wait for it would never end


@pytest.mark.parametrize("caches", [1, 4])
@pytest.mark.parametrize("turn", range(10))
def test_a_crowd_gets_one_tree_that_is_filled_once(tmp_path: Path, caches: int, turn: int) -> None:
    rivals, fills = [TreeCache(tmp_path, 2**20) for _ in range(caches)], []
    start = threading.Barrier(16)

    def noted_fill(folder: Path) -> None:
        fills.append(folder)
        fill(folder)

    def get(number: int) -> Path:
        start.wait(30)
        return rivals[number % caches].get(NAME, 1, noted_fill)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(get, range(16), timeout=60)) == {tmp_path / "trees" / NAME}
    assert len(fills) == 1
