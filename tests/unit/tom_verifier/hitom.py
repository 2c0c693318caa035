"""Hi-ToM's development rows, below the folder that ASSAY_DATA names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assay_tom_verifier.core.evaluate import LabelledRow, read_row

_DEFAULT = Path(__file__).resolve().parents[3] / "../shared/data"


def hitom_rows() -> list[LabelledRow]:
    """The 200 rows; skips the test where they are not there."""
    path = Path(os.environ.get("ASSAY_DATA", _DEFAULT)) / "tom-verifier" / "hitom_dev.jsonl"
    if not path.is_file():
        pytest.skip("needs tom-verifier/hitom_dev.jsonl below the folder that ASSAY_DATA names")
    return [read_row(json.loads(line)) for line in path.read_text().splitlines()]
