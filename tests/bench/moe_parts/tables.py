"""Plain tables, and results as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], *remarks: str) -> None:
    """Prints one table: text to the left, everything that begins with a digit or sign to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    numeric = [all(not row[i] or row[i][0] in "-+0123456789[<" for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        pairs = zip(row, widths, numeric, strict=True)
        return "  ".join(f"{cell:>{width}}" if right else f"{cell:<{width}}" for cell, width, right in pairs).rstrip()

    print(f"\n{title}\n")
    print("\n".join(line(row) for row in [list(head), *cells]))
    for remark in remarks:
        print(remark)


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def document(value: Any) -> Any:
    """JSON of dataclasses and arrays; fields marked `written: False` are too long and left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: document(getattr(value, each.name))
            for each in fields(value)
            if each.metadata.get("written", True)
        }
    if isinstance(value, dict):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return document(value.tolist())
    if isinstance(value, list | tuple):
        return [document(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}")
    return value.item() if isinstance(value, np.generic) else value
