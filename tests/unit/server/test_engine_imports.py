"""Engine modules of one process are imported one after the other, whoever asks for them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.engine.host import load_steps

MODULE = """
import time
began = time.monotonic()
time.sleep(0.2)
ended = time.monotonic()
STEPS = {}
"""


def test_two_engines_are_imported_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["slow_engine_one", "slow_engine_two"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(load_steps, names))
    first, second = sorted((__import__(name) for name in names), key=lambda module: module.began)
    assert first.ended <= second.began
