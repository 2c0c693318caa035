"""The Triton kernels on the CPU: the tests of interpreted/, in a process that sets TRITON_INTERPRET before it imports.

One alone: TRITON_INTERPRET=1 python -m pytest tests/unit/kernels/interpreted -k ...
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from unit.kernels.parts import random_heads

from assay_kernels import block_sparse_prefill, query_blocks
from assay_kernels.selection import select_all

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="runs what is being run")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs the package triton")
def test_triton_kernels_agree_with_the_references():
    command = [sys.executable, "-m", "pytest", "tests/unit/kernels/interpreted", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_triton_is_refused_where_it_cannot_run():
    q, k, v = random_heads(64)
    with pytest.raises(ValueError, match="TRITON_INTERPRET"):
        block_sparse_prefill(q, k, v, select_all(query_blocks(64, 64, 64)), implementation="triton")
    assert not torch.cuda.is_available() or block_sparse_prefill(
        *(x.cuda() for x in (q, k, v)), select_all(query_blocks(64, 64, 64, device="cuda"))
    )
