"""The report card as one HTML page that needs nothing else: no script, no font, no image from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assay.checkup.card import FORMAT, versions
from assay.checkup.lineage import forest, short
from assay.checkup.numbers import count, interval, number, size
from assay.checkup.svg import Hostile, Unsupported, sanitised

MAX_ROWS = 200  # of a table; report.json has all
LONG_ROWS = 25  # from which a table scrolls within a box of its own
MAX_FILES = 20  # of an artifact
WIDE = 1.7  # width over height from which a plot would become too small on a phone

STATES = {
    "answered": "Answered",
    "not_applicable": "Does not apply to this model",
    "failed": "Failed",
    "unreachable": "Could not be reached",
    "cancelled": "Cancelled",
}
EXPLANATIONS = {
    "not_applicable": "The question does not apply to this model.",
    "failed": "The service could not answer.",
    "unreachable": "The service could not be reached, so its question is open.",
    "cancelled": "The examination was cancelled before it ended.",
}

_OVERRIDES = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}")
# Whatever else slipped into the page would not load, run or be sent.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:;"

Plots = Mapping[tuple[str, str], bytes]  # SVG by service and file


@dataclass(frozen=True)
class Picture:
    """How a plot is shown: as markup, as the source of an image, or not at all, with the reason."""

    markup: Markup | None = None
    source: str = ""
    refusal: str = ""
    wide: bool = False


def render(document: Mapping[str, Any], plots: Plots) -> str:
    """The page of a card document. Every text in it is data: it is escaped wherever it stands."""
    css = resources.files("assay.checkup").joinpath("templates/card.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        _environment()
        .get_template("card.html")
        .render(
            generator=FORMAT,
            css=Markup(css),
            policy=f"{POLICY} style-src 'sha256-{digest}'",
            card=document,
            made=datetime.fromisoformat(document["created"]),
            versions=versions(document),
            sections=[_section(answer, index, plots) for index, answer in enumerate(document["sections"])],
            forest=forest(document),
            states=STATES,
            explanations=EXPLANATIONS,
            max_files=MAX_FILES,
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("assay.checkup"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_without_overrides,
    )  # fmt: skip
    made.filters.update(
        number=number, size=size, count=count, interval=interval, short=short, anchor=_anchor, pretty=_pretty
    )
    return made


def _without_overrides(value: Any) -> Any:
    """Text may run in any direction, and may not make what follows run backwards."""
    return value.translate(_OVERRIDES) if isinstance(value, str) and not isinstance(value, Markup) else value


def picture(svg: bytes | None, prefix: str) -> Picture:
    """What is safe to show of a stranger's plot."""
    if svg is None:
        return Picture(refusal="it is missing, or too large")
    try:
        markup = sanitised(svg, prefix)
    except Hostile as reason:
        return Picture(refusal=str(reason))
    except Unsupported:
        # An image's scripts do not run and its references are not followed.
        return Picture(source=f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")
    return Picture(markup=Markup(markup), wide=_is_wide(markup))


def _section(answer: Mapping[str, Any], index: int, plots: Plots) -> Mapping[str, Any]:
    section = answer["section"]
    view = {
        **answer,
        "anchor": f"s{index}",
        "title": section["title"] if section else answer["service"].replace("_", " ").capitalize(),
        "plots": [],
        "tables": [],
    }
    if section:
        view["plots"] = [
            {**plot, "picture": picture(plots.get((answer["service"], plot["file"])), f"s{index}p{position}-")}
            for position, plot in enumerate(section["plots"])
        ]
        view["tables"] = [_table(table) for table in section["tables"]]
    return view


def _table(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Cells as text; a column of numbers is set flush right."""
    rows = table["rows"]
    numeric = [
        all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(table["columns"]))
    ]
    return {
        **table,
        "numeric": numeric,
        "shown": [[_cell(cell) for cell in row] for row in rows[:MAX_ROWS]],
        "long": len(rows) > LONG_ROWS,
        "hidden": max(0, len(rows) - MAX_ROWS),
    }


def _cell(cell: str | float | None) -> str:
    if cell is None:
        return "\N{EN DASH}"
    return cell if isinstance(cell, str) else number(cell)


def _is_wide(markup: str) -> bool:
    box = markup.partition('viewBox="')[2].partition('"')[0].replace(",", " ").split()
    try:
        _, _, width, height = map(float, box)
    except ValueError:
        return False
    return height > 0 and width / height >= WIDE


def _anchor(digest: str) -> str:
    return f"a-{digest.removeprefix('sha256:')[:16]}"


def _pretty(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
