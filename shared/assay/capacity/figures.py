"""Numbers that say where they come from: a plan is as good as the figures it stands on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.errors import InvalidInput

BASES = ("measured", "documented", "given", "assumed")


@dataclass(frozen=True)
class Figure:
    """basis: measured (by ourselves), documented (by whoever made the part), given (in the file) or assumed."""

    value: float
    basis: str
    source: str


def assumed(value: float, source: str) -> Figure:
    return Figure(value, "assumed", source)


def documented(value: float, source: str) -> Figure:
    return Figure(value, "documented", source)


def measured(value: float, source: str) -> Figure:
    return Figure(value, "measured", source)


@dataclass
class Section:
    """A table of the file at `path`. Every number read through it is kept in `figures` with its source.

    A number is written bare, or as {value = 0.2, basis = "measured", source = "what was run"}.
    """

    values: Mapping[str, Any]
    path: str
    figures: dict[str, Figure]
    read: set[str] = field(default_factory=set)

    def number(
        self,
        name: str,
        default: Figure | None = None,
        *,
        least: float = 0.0,
        most: float = math.inf,
        above: bool = False,
    ) -> float:
        """least, most: the bounds, both allowed unless `above`, which excludes `least`."""
        figure = self._figure(name, default)
        where = self._at(name)
        if not math.isfinite(figure.value) or figure.value > most or figure.value < least:
            bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise InvalidInput(where, f"is {figure.value:g}; {bounds}")
        if above and figure.value == least:
            raise InvalidInput(where, f"is {figure.value:g}; more than {least:g}")
        self.figures[where] = figure
        return figure.value

    def whole(self, name: str, default: Figure | None = None, *, least: int = 0, most: int = 2**53) -> int:
        value = self.number(name, default, least=least, most=most)
        if value != int(value):
            raise InvalidInput(self._at(name), f"is {value:g}; a whole number")
        return int(value)

    def text(self, name: str, default: str | None = None, *, among: tuple[str, ...] = ()) -> str:
        value = self.values.get(name, default)
        self.read.add(name)
        if value is None:
            raise InvalidInput(self._at(name), "is missing" + (f"; one of {', '.join(among)}" if among else ""))
        if not isinstance(value, str) or (among and value not in among):
            raise InvalidInput(
                self._at(name), f"is {value!r}; " + (f"one of {', '.join(among)}" if among else "a text")
            )
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        self.read.add(name)
        if not isinstance(value, bool):
            raise InvalidInput(self._at(name), f"is {value!r}; true or false")
        return value

    def labels(self, name: str) -> dict[str, str]:
        value = self.values.get(name, {})
        self.read.add(name)
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise InvalidInput(self._at(name), "holds texts by name")
        return dict(value)

    def section(self, name: str) -> Section:
        """An empty one where the file has none."""
        self.read.add(name)
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise InvalidInput(self._at(name), f"is {value!r}; a table")
        return Section(value, self._at(name), self.figures)

    def has(self, name: str) -> bool:
        return name in self.values

    def sections(self) -> Iterator[tuple[str, Section]]:
        for name in self.values:
            yield name, self.section(name)

    def done(self) -> None:
        """Raises InvalidInput for the first entry that nobody read."""
        for name in self.values:
            if name not in self.read:
                known = ", ".join(sorted(self.read))
                raise InvalidInput(self._at(name), f"is unknown here; known are {known}")

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _figure(self, name: str, default: Figure | None) -> Figure:
        self.read.add(name)
        value = self.values.get(name)
        where = self._at(name)
        if value is None:
            if default is None:
                raise InvalidInput(where, "is missing; a number, or {value, basis, source}")
            return default
        if isinstance(value, dict):
            inner = Section(value, where, {})
            basis, source = inner.text("basis", "given", among=BASES), inner.text("source", "")
            bare = value.get("value")
            inner.read.add("value")
            inner.done()
            if basis == "measured" and not source:
                raise InvalidInput(f"{where}.source", "is missing; say what was run to measure it")
            value, source = bare, source or "the file"
        else:
            basis, source = "given", "the file"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(where, f"is {value!r}; a number, or {{value, basis, source}}")
        return Figure(float(value), basis, source)
