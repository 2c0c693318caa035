"""The card: its schema, its page, its numbers, its files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from assay.checkup.card import card_document
from assay.checkup.examine import Answer
from assay.checkup.lineage import Node, forest
from assay.checkup.numbers import count, number, size
from assay.checkup.render import MAX_ROWS, render
from assay.checkup.summary import figure_in_words
from assay.checkup.write import check_destination, write_card
from assay.cli.words import one_line
from assay.errors import AlreadyExists, PermissionDenied

from .samples import HOSTILE_TEXT, LINEAGE, MODEL, PLAN, SECTION, STATISTICS, TEXT, answers, artifact, card, facts

TIMES = " \N{MULTIPLICATION SIGN} "
SCHEMA = json.loads(resources.files("assay.checkup").joinpath("report-card.schema.json").read_text())


def check(document: dict) -> None:
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(document)


@pytest.mark.parametrize("text", ["Are the experts balanced?", HOSTILE_TEXT])
def test_a_card_with_every_kind_of_answer_is_what_the_schema_says(text: str) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    document, _ = card(text)
    check(json.loads(json.dumps(document)))
    states = {section["service"]: section["state"] for section in document["sections"]}
    assert len(states) == 6
    assert set(states.values()) == {"answered", "failed", "unreachable", "not_applicable"}


def test_the_schema_refuses_a_card_that_contradicts_itself() -> None:
    document, _ = card()
    failed = next(section for section in document["sections"] if section["state"] == "failed")
    failed["state"] = "answered"
    with pytest.raises(ValidationError):
        check(document)


def test_lineage_names_each_artifact_once_with_inputs_first() -> None:
    document, _ = card()
    digests = [found["digest"] for found in document["artifacts"]]
    assert digests == [a.digest for a in LINEAGE]  # although two sections stand on them
    for index, found in enumerate(document["artifacts"]):
        assert set(found["inputs"]) <= set(digests[:index])
    plan = document["artifacts"][3]
    assert plan["files"][1] == {"path": "weights/model.safetensors", "size_bytes": 9 * 1234, "sha256": "cd" * 32}


def test_the_tree_describes_an_artifact_where_it_stands_first() -> None:
    (root,) = forest(card()[0])

    def walk(node: Node) -> list[tuple[str, bool]]:
        return [(node.digest, node.again), *(found for below in node.inputs for found in walk(below))]

    seen = walk(root)
    in_full = [digest for digest, again in seen if not again]
    assert sorted(in_full) == sorted(a.digest for a in LINEAGE)
    assert root.digest == SECTION.digest
    assert {digest for digest, again in seen if again} == {MODEL.digest, TEXT.digest, STATISTICS.digest}
    assert PLAN.digest in in_full


def test_a_lineage_deeper_than_a_page_nests_ends_in_names() -> None:
    chain = [artifact("link", parameters={"n": 0})]
    for n in range(1, 300):
        chain.append(artifact("link", chain[-1], parameters={"n": n}))
    section = Answer("s", "answered", 1.0, digest=chain[-1].digest, section=answers()[1].section, lineage=chain)
    document = card_document(facts(), TEXT, "text", [section])
    page = render(document, {})
    assert page.count("<details") == 66  # the fold itself, the section and 64 levels below it
    check(document)


class Reader(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_hostile_text_stays_text_wherever_it_stands() -> None:
    document, plots = card(HOSTILE_TEXT, name=HOSTILE_TEXT)
    page = render(document, plots)
    reader = read(page)
    names = {name for name, _ in reader.elements}
    assert names.isdisjoint({"script", "iframe", "link", "b", "form", "base", "object"})
    attributes = {attribute for _, given in reader.elements for attribute in given}
    assert [name for name in attributes if name.startswith("on") or name == "style"] == []
    shown = " ".join(reader.text)
    assert shown.count("<script>document.title='pwned'</script>") > 20  # as text
    assert "{{ 7*7 }}" in shown
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page


def test_the_page_refers_to_nothing_outside_itself() -> None:
    document, plots = card()
    page = render(document, plots)
    for _, attributes in read(page).elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/svg+xml;base64,"))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    # Every link leads somewhere on the page.
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_content_policy_lets_one_style_sheet_pass_and_nothing_else() -> None:
    page = render(*card())
    (css,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'sha256-{digest}'"
    )  # fmt: skip
    assert "url(" not in css
    assert "@import" not in css


def test_plots_are_drawn_shown_as_images_or_refused_with_the_reason() -> None:
    page = render(*card())
    assert page.count("<svg") == 2  # the same plot of two sections, ids apart
    assert page.count('<img src="data:image/svg+xml;base64,') == 2
    assert "bad.svg, is not shown: it holds a &lt;script&gt; element" in page
    assert "missing.svg, is not shown: it is missing" in page


def test_a_long_table_is_cut_and_says_so() -> None:
    page = render(*card())
    assert f"{450 - MAX_ROWS} more rows are in report.json." in page
    assert page.count("<td") < 2 * 2 * (MAX_ROWS + 60)


def test_a_card_on_which_nobody_answered_is_a_card() -> None:
    document = card_document(facts(), TEXT, "text", [answer for answer in answers() if not answer.section])
    check(document)
    page = render(document, {})
    assert "Lineage" not in page
    assert "The service could not be reached, so its question is open." in page
    assert "this model sees no images" in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (-0.0, "0"), (1234567, "1,234,567"), (-3, "\u22123"), (True, "yes"), (2.0, "2"), (1234.5, "1,234"),
        (0.97656, "0.9766"), (0.0001, "0.0001"), (999.96, "1000"), (3.14159e-5, f"3.142{TIMES}10\u207b\u2075"),
        (-2e-7, f"\u22122{TIMES}10\u207b\u2077"), (1.5e20, f"1.5{TIMES}10\u00b2\u2070"),
        (10**18, f"1{TIMES}10\u00b9\u2078"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_typeset(value: float, shown: str) -> None:
    assert number(value) == shown


def test_sizes_and_counts_take_the_fitting_unit() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536 * 2**20, 2**52)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "4096.0 TiB",
    ]
    assert [count(n) for n in (99_999, 551_234, 7_240_000_000, 10**12)] == [
        "99,999", "551 thousand", "7.24 billion", "1 trillion",
    ]  # fmt: skip


def test_a_figure_in_words_has_its_interval() -> None:
    figure = {"label": "loss\x1b[2J", "value": 0.5, "unit": "nats", "low": 0.25, "high": 0.75, "note": ""}
    assert figure_in_words(figure) == "loss\N{REPLACEMENT CHARACTER}[2J 0.5 nats [0.25 to 0.75]"
    assert one_line("a\n b\u202e") == "a b\N{REPLACEMENT CHARACTER}"


def test_a_card_is_replaced_as_a_whole_and_nothing_else_is(tmp_path: Path) -> None:
    document, plots = card()
    out = tmp_path / "new" / "report"
    check_destination(out)
    page = write_card(out, document, render(document, plots))
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(document))
    check_destination(out)  # its own is no obstacle
    write_card(out, document, render(document, plots))
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]
    assert page.stat().st_mode & 0o777 == 0o644 & ~_umask()
    (out / "report.json").write_text("{}")
    with pytest.raises(AlreadyExists, match="no report card"):
        check_destination(out)


def _umask() -> int:
    import os

    current = os.umask(0)
    os.umask(current)
    return current


def test_a_destination_that_is_a_file_or_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermissionDenied, match="--out"):
        check_destination(tmp_path / "file")
    folder = tmp_path / "folder"
    (folder / "report.html").mkdir(parents=True)
    with pytest.raises(AlreadyExists):
        check_destination(folder)
