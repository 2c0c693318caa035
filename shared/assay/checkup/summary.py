"""A card in short, for a terminal and for machines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assay.checkup.numbers import interval, number
from assay.cli.words import one_line

if TYPE_CHECKING:
    from assay.checkup.run import Card

KEY_FIGURES = 4
PLAIN_WIDTH = 110  # where no terminal says how wide it is

STATES = {
    "answered": "answered",
    "not_applicable": "does not apply",
    "failed": "failed",
    "unreachable": "cannot be reached",
    "cancelled": "cancelled",
}


def summary(card: Card) -> dict[str, Any]:
    """The card without tables, plots and lineage."""
    sections = []
    for answer in card.document["sections"]:
        section = answer["section"] or {}
        kept = {name: answer[name] for name in ("service", "state", "seconds", "operation", "artifact", "error")}
        sections.append({**kept, **{name: section.get(name) for name in ("question", "answer", "figures")}})
    return {
        "html": str(card.page),
        "json": str(card.page.with_suffix(".json")),
        "model": card.document["model"],
        "text": card.document["text"],
        "sections": sections,
    }


def print_summary(card: Card) -> None:
    """A table of the answers, then the page's path on a line of its own."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True, expand=True)
    table.add_column("service", no_wrap=True)
    table.add_column("question", ratio=3)
    table.add_column("answer", ratio=5)
    table.add_column("key figures", ratio=4)
    for answer in card.document["sections"]:
        table.add_row(*(Text(cell) for cell in _cells(answer)))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(table)
    print(f"report card: {card.page.resolve()}")


def _cells(answer: Mapping[str, Any]) -> Sequence[str]:
    section = answer["section"]
    if section is None:
        return answer["service"], "", f"{STATES[answer['state']]}: {one_line(answer['error']['message'])}", ""
    figures = "\n".join(map(figure_in_words, section["figures"][:KEY_FIGURES]))
    return answer["service"], one_line(section["question"]), one_line(section["answer"]), figures


def figure_in_words(figure: Mapping[str, Any]) -> str:
    """Label, value with its unit, and the interval where there is one."""
    parts = [one_line(figure["label"]), number(figure["value"]), one_line(figure["unit"])]
    if bounds := interval(figure):
        parts.append(f"[{bounds}]")
    return " ".join(filter(None, parts))
