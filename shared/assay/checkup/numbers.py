"""Numbers as people read them: four digits that matter, thousands apart, no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def number(value: float) -> str:
    """1234567 as 1,234,567; 0.000012345 as 1.234 x 10^-5 with its power set high; True as yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) < 10**15:
        text = f"{value:,}"
    elif value == 0:
        text = "0"
    elif 1e-4 <= abs(value) < 1e15:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    else:
        digits, _, power = f"{value:.3e}".partition("e")
        text = f"{digits.rstrip('0').rstrip('.')} {TIMES} 10{str(int(power)).translate(_SUPERSCRIPT)}"
    return text.replace("-", MINUS)


def size(size_bytes: float) -> str:
    """In the unit that gives the fewest digits: 12.3 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024 or unit == "TiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def count(value: int) -> str:
    """About how many: 412 thousand, 7.24 billion; the exact number below 100,000."""
    for unit, scale in (("trillion", 10**12), ("billion", 10**9), ("million", 10**6), ("thousand", 10**3)):
        if value >= scale and value >= 100_000:
            return f"{value / scale:.3g} {unit}"
    return f"{value:,}"


def interval(figure: Mapping[str, Any]) -> str:
    """The 95 % interval of a figure of report.json; empty where there is none."""
    if figure["low"] is None or figure["high"] is None:
        return ""
    return f"{number(figure['low'])} to {number(figure['high'])}"
