"""A section of a report card: what one service found out about a model, as data and plots.

An artifact of kind "section" holds section.json and the plots it names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assay.artifacts.manifest import check_digest, check_path
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

    def check(self) -> None:
        _check_texts("figures.label", [self.label])
        path = f"figures[{self.label}]"
        _check_texts(path, [self.unit, self.note])
        _check_number(f"{path}.value", self.value, "say in the answer why there is none")
        if (self.low is None) != (self.high is None):
            raise InvalidInput(f"{path}.low", "and high belong together; give both, or neither")
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None:
                _check_number(f"{path}.{name}", bound, "leave the interval out and say why in the note")


@dataclass(frozen=True)
class Table:
    """columns: names with their units. rows: as many cells each; None where a value does not apply."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def check(self) -> None:
        _check_texts("tables.title", [self.title])
        path = f"tables[{self.title}]"
        _check_texts(path, [*self.columns, self.note])
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InvalidInput(f"{path}.rows[{index}]", "has not as many cells as columns; use None for empty ones")
            for cell in row:
                if isinstance(cell, str):
                    _check_texts(f"{path}.rows[{index}]", [cell])
                elif cell is not None:
                    _check_number(f"{path}.rows[{index}]", cell, "use None where a value does not apply")


@dataclass(frozen=True)
class Plot:
    """file: an SVG of this artifact that takes its text colour from the page (currentColor). caption: what it shows."""

    file: str
    title: str
    caption: str

    def check(self) -> None:
        check_path(self.file, "plots.file")
        _check_texts(f"plots[{self.file}]", [self.title, self.caption])
        if not self.file.endswith(".svg") or self.file == DOCUMENT:
            raise InvalidInput(f"plots[{self.file}].file", "is no SVG; name it something.svg")


@dataclass(frozen=True)
class Section:
    """service: e.g. "moe_router". question: what the service asks. answer: one or two sentences with the figures.

    caveats: what the figures do not carry, and claims that did not hold. lineage: digests of the artifacts that the
    figures stand on, by role, e.g. {"plan": "sha256:..."}.
    Raises InvalidInput for what a report card could not show.
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
        _check_texts("section", [self.service, self.title, self.question, self.answer, *self.caveats])
        parts: Iterable[Figure | Table | Plot] = (*self.figures, *self.tables, *self.plots)
        for part in parts:
            part.check()
        if len({plot.file for plot in self.plots}) < len(self.plots):
            raise InvalidInput("plots", "name one file twice; give each plot its own")
        for role, digest in (self.lineage or {}).items():
            _check_texts("lineage", [role])
            check_digest(digest, f"lineage.{role}")

    def to_document(self) -> dict[str, Any]:
        """As JSON, the way section.json and report.json hold it."""
        parts = {"schema_version": SCHEMA_VERSION, **asdict(self), "lineage": dict(self.lineage or {})}
        document: dict[str, Any] = json.loads(json.dumps(parts, allow_nan=False))
        return document

    def to_files(self, plots: Mapping[str, bytes]) -> dict[str, bytes]:
        """Files of the artifact. plots: SVG by file name; InvalidInput where one that is named is not given."""
        if missing := [plot.file for plot in self.plots if plot.file not in plots]:
            raise InvalidInput("plots", f"lack {missing[0]}; give its SVG, or do not name it")
        return {DOCUMENT: json.dumps(self.to_document(), indent=1, sort_keys=True).encode(), **plots}

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
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput) as error:
            raise DataLoss("the section cannot be read by this version; examine the model again") from error


def _all(kind: type[Any], documents: list[Mapping[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**document) for document in documents)


def _check_texts(field: str, texts: Iterable[object]) -> None:
    for text in texts:
        try:
            if not isinstance(text, str):
                raise InvalidInput(field, f"holds a {type(text).__name__} where text belongs; write a string")
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(field, "holds half a Unicode character; replace it by U+FFFD") from None


def _check_number(field: str, value: object, remedy: str) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(field, f"is no finite number; {remedy}")
