"""A section says what it means, or is refused where it is made."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from assay.checkup.section import DOCUMENT, Figure, Plot, Section, Table
from assay.errors import DataLoss, InvalidInput

from .samples import PLOTS, full_section


def section(**parts: Any) -> Section:
    return Section(**{"service": "s", "title": "t", "question": "q", "answer": "a", **parts})


def test_what_is_written_is_read_again() -> None:
    made = full_section()
    files = made.to_files({**PLOTS, "missing.svg": b""})
    assert set(files) == {DOCUMENT, *PLOTS, "missing.svg"}
    assert Section.from_document(files[DOCUMENT]) == made


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"figures": (Figure("f", math.nan),)}, "figures[f].value"),
        ({"figures": (Figure("f", 1.0, low=0.0),)}, "figures[f].low"),
        ({"figures": (Figure("f", 1.0, low=-math.inf, high=2.0),)}, "figures[f].low"),
        ({"figures": (Figure("f", "1.0"),)}, "figures[f].value"),
        ({"tables": (Table("t", ("a", "b"), ((1,),)),)}, "tables[t].rows[0]"),
        ({"tables": (Table("t", ("a",), ((math.inf,),)),)}, "tables[t].rows[0]"),
        ({"tables": (Table("t", ("a",), (([],),)),)}, "tables[t].rows[0]"),
        ({"plots": (Plot("../x.svg", "t", "c"),)}, "plots.file"),
        ({"plots": (Plot("x.html", "t", "c"),)}, "plots[x.html].file"),
        ({"plots": (Plot("x.svg", "t", "c"), Plot("x.svg", "u", "d"))}, "plots"),
        ({"lineage": {"plan": "not a digest"}}, "lineage.plan"),
        ({"answer": "half a character: \ud800"}, "section"),
        ({"answer": None}, "section"),
        ({"caveats": ({"not": "text"},)}, "section"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_card_could_not_show_is_refused(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        section(**parts)
    assert caught.value.violations[0].field == field


def test_a_plot_that_is_named_must_be_given() -> None:
    with pytest.raises(InvalidInput, match=r"lack x\.svg"):
        section(plots=(Plot("x.svg", "t", "c"),)).to_files({})


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema_version=2),
        lambda d: d.pop("answer"),
        lambda d: d.update(unheard_of=1),
        lambda d: d["figures"].append({"label": "x", "value": "1"}),
        lambda d: d["tables"][0]["rows"].append([1]),
        lambda d: d.update(caveats=[1]),
        lambda d: d.update(figures=None),
    ],
    ids=range(7),
)
def test_a_document_of_another_form_is_damage(change: Any) -> None:
    document = json.loads(full_section().to_files({**PLOTS, "missing.svg": b""})[DOCUMENT])
    change(document)
    with pytest.raises(DataLoss, match="examine the model again"):
        Section.from_document(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"no json", b"\xff\xfe", b"[" * 100_000], ids=range(5))
def test_bytes_that_are_no_document_are_damage(data: bytes) -> None:
    with pytest.raises(DataLoss):
        Section.from_document(data)
