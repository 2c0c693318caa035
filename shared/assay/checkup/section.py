"""A section of a report card: what one service found out about a model, as data and plots.

An artifact of kind "section" holds section.json and the plots it names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assay.errors import DataLoss, InvalidInput

DOCUMENT = "section.json"
SCHEMA_VERSION = 1
KIND = "section"

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """One number a reader should see first. low, high: a 95 % interval where there is one. note: how it came about."""

    label: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """columns: names with their units. rows: as many cells each; None where a value does not apply."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """file: an SVG of this artifact that takes its text colour from the page (currentColor). caption: what it shows."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """service: e.g. "moe_router". question: what the service asks. answer: one or two sentences with the figures.

    caveats: what the figures do not carry, and claims that did not hold. lineage: digests of the artifacts that the
    figures stand on, by role, e.g. {"plan": "sha256:..."}.
    """

    service: str
    title: str
    question: str
    answer: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    caveats: tuple[str, ...] = ()
    lineage: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for table in self.tables:
            for index, row in enumerate(table.rows):
                if len(row) != len(table.columns):
                    raise InvalidInput(f"tables[{table.title}].rows[{index}]", "has not as many cells as columns")
        for figure in self.figures:
            if not math.isfinite(figure.value):
                raise InvalidInput(f"figures[{figure.label}].value", "is not finite; say in the answer why there is none")

    def to_files(self, plots: Mapping[str, bytes]) -> dict[str, bytes]:
        """Files of the artifact. plots: SVG by file name; InvalidInput where one that is named is not given."""
        if missing := [plot.file for plot in self.plots if plot.file not in plots]:
            raise InvalidInput("plots", f"lack {missing[0]}")
        document = {"schema_version": SCHEMA_VERSION, **asdict(self), "lineage": dict(self.lineage or {})}
        return {DOCUMENT: json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode(), **plots}

    @classmethod
    def from_document(cls, data: bytes) -> Section:
        """What `to_files` wrote under DOCUMENT. DataLoss where it is something else."""
        try:
            document = json.loads(data)
            if document.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError("another schema version")
            return cls(
                **{
                    **document,
                    "figures": _all(Figure, document["figures"]),
                    "tables": tuple(
                        Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"])
                        for t in document["tables"]
                    ),
                    "plots": _all(Plot, document["plots"]),
                    "caveats": tuple(document["caveats"]),
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataLoss("the section cannot be read by this version; examine the model again") from error


def _all(kind: type[Any], documents: list[Mapping[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**document) for document in documents)
