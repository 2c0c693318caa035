"""Triton finds the module it wants in an image without a compiler. Whether a GPU takes it, is not told here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "infra/images"

ASK = """
import pathlib, sys
from triton.runtime import build
backend = pathlib.Path(build.__file__).parents[1] / "backends/nvidia"
source, folder = sys.argv[1:]
path = source or str(backend / "driver.c")
print(build._build("cuda_utils", path, folder, [folder], [str(backend / "include")], ["libcuda.so.1"], []))
"""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not importlib.util.find_spec("triton") or not shutil.which("gcc"):
        pytest.skip("needs Triton and gcc")
    built = tmp_path_factory.mktemp("built") / "launcher.so"
    subprocess.run([IMAGES / "build-launcher.sh", sys.executable, built], check=True, timeout=60)
    return built


def triton_builds(launcher: Path, folder: Path, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What Triton's own build step gets, where the only compiler is the image's stand-in."""
    environment = {"PATH": "/usr/bin:/bin", "CC": str(IMAGES / "triton-cc.sh"), "TRITON_LAUNCHER": str(launcher)}
    command = [sys.executable, "-c", ASK, str(source or ""), str(folder)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60, check=False)


def test_triton_is_given_what_was_built_with_the_image(launcher: Path, tmp_path: Path) -> None:
    done = triton_builds(launcher, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == launcher.read_bytes()


def test_the_module_asks_for_the_nodes_driver_by_its_name(launcher: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(launcher)!r}, mode={os.RTLD_LAZY})"],
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    # Where there is a driver it loads; elsewhere that driver is all it misses.
    assert loaded.returncode == 0 or "libcuda.so.1: cannot open shared object file" in loaded.stderr


def test_any_other_source_is_refused_in_plain_words(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text("int other;")
    done = triton_builds(launcher, tmp_path, tmp_path / "driver.c")
    assert done.returncode != 0
    assert "this image has no C compiler" in done.stderr
