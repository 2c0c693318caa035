"""The report card in a real Chromium: narrow, dark, printed, and full of strangers' text."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.checkup.samples import HOSTILE_TEXT, card

from assay.checkup.render import render

from .browser import Page, browser

PHONE = {"width": 390, "height": 844, "mobile": True}
PAPER, INK = "getComputedStyle(document.documentElement).backgroundColor", "getComputedStyle(document.body).color"


@pytest.fixture(scope="module")
def page(tool) -> Iterator[Page]:
    with browser(tool("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a card and of one whose every text is hostile."""
    folder = tmp_path_factory.mktemp("cards")
    for name, given in {"plain": card(), "hostile": card(HOSTILE_TEXT, HOSTILE_TEXT)}.items():
        (folder / f"{name}.html").write_text(render(*given))
    return {name: (folder / f"{name}.html").as_uri() for name in ("plain", "hostile")}


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_on_a_phone_the_page_is_as_wide_as_the_screen(page: Page, files: dict[str, str], name: str) -> None:
    page.open(files[name], **PHONE)
    assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    # Wide tables are there, and scroll in boxes of their own.
    wider = "[...document.querySelectorAll('.table .scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert page.evaluate(wider) >= 2
    # Nothing sticks out of the page except inside such a box.
    outside = """[...document.querySelectorAll('body *')].filter(
        element => !element.closest('.scroll') && element.getBoundingClientRect().right > 390.5
    ).map(element => element.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []


def test_with_everything_unfolded_it_still_fits(page: Page, files: dict[str, str]) -> None:
    page.open(files["plain"], **PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 6
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_page_asks_for_nothing_and_says_nothing(page: Page, files: dict[str, str], name: str) -> None:
    page.open(files[name])
    assert [url for url in page.requests if not url.startswith("data:image/")] == [files[name]]
    assert page.messages == []


def test_hostile_text_does_nothing(page: Page, files: dict[str, str]) -> None:
    page.open(files["hostile"])
    assert page.evaluate("document.title").startswith("<script>document.title='pwned'</script>")
    assert page.evaluate("document.querySelector('h1').textContent").startswith("<script>document.title='pwned'")
    assert page.evaluate("document.querySelectorAll('script, iframe, img:not([src^=\"data:\"])').length") == 0
    handlers = """[...document.querySelectorAll('*')].flatMap(element => [...element.attributes])
        .filter(attribute => attribute.name.startsWith('on')).length"""
    assert page.evaluate(handlers) == 0


def test_the_content_policy_stops_what_would_slip_through(page: Page, files: dict[str, str], tmp_path: Path) -> None:
    source = Path(files["plain"].removeprefix("file://")).read_text()
    slipped = (
        "<script>document.title='pwned'</script><p style='color: red' onclick='document.title=1'>x</p>"
        "<img src='https://127.0.0.1:9/x.png'><style>body { display: none }</style>"
    )
    (tmp_path / "slipped.html").write_text(source.replace("<main>", f"<main>{slipped}"))
    page.open((tmp_path / "slipped.html").as_uri())
    assert page.evaluate("document.title") == "qwen3-moe-tiny – assay report card"  # noqa: RUF001
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    assert sum("Content Security Policy" in message for message in page.messages) >= 3


def brightness(colour: str) -> float:
    """0 for black, 1 for white, of rgb(...)."""
    red, green, blue = (float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def test_it_is_dark_where_the_reader_wants_it_dark_plots_included(page: Page, files: dict[str, str]) -> None:
    seen = {}
    for dark in (False, True):
        page.open(files["plain"], dark=dark)
        stroke = "getComputedStyle(document.querySelector('figure svg g > path')).stroke"
        seen[dark] = [brightness(page.evaluate(colour)) for colour in (PAPER, INK, stroke)]
    (paper, ink, stroke), (dark_paper, dark_ink, dark_stroke) = seen[False], seen[True]
    assert paper > 0.9
    assert ink < 0.2
    assert stroke == ink
    assert dark_paper < 0.15
    assert dark_ink > 0.8
    assert dark_stroke == dark_ink


def test_texts_are_readable_on_their_ground(page: Page, files: dict[str, str]) -> None:
    # WCAG's contrast of text of ordinary size is 4.5:1 or more.
    measure = """(() => {
        const parse = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = colour => { const [r, g, b] = parse(colour).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b };
        const ground = element => { for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor; const parts = parse(colour);
            if (parts.length < 4 || parts[3] > 0) return colour }
            return getComputedStyle(document.documentElement).backgroundColor };
        const told = 'h1, h2, h3, p, dt, dd, td, th, li, figcaption, small, summary';
        const shown = [...document.querySelectorAll(told)].filter(element => element.checkVisibility());
        return Math.min(...shown.map(element => {
                const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) })) })()"""
    for dark in (False, True):
        page.open(files["plain"], dark=dark)
        assert page.evaluate(measure) >= 4.5


def test_a_link_into_the_folded_lineage_unfolds_it(page: Page, files: dict[str, str]) -> None:
    page.open(files["plain"])
    assert page.evaluate("document.querySelector('.lineage > details').open") is False
    page.evaluate("document.querySelector('.origin a').click()")
    assert page.evaluate("document.querySelector('.lineage > details').open") is True
    assert page.evaluate("document.querySelector(':target').closest('details').open") is True


def test_print_is_light_and_holds_the_whole_record(page: Page, files: dict[str, str], tmp_path: Path) -> None:
    page.open(files["plain"], dark=True)
    file = tmp_path / "card.pdf"
    page.pdf(file)
    assert file.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext") is None or shutil.which("pdftoppm") is None:
        pytest.skip("needs pdftotext and pdftoppm")
    text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    assert "Expert balance" in text
    assert "39601" in text.replace(",", "")  # row 199 of the long table, which scrolls on a screen
    assert "routing-statistics" in text  # folded on a screen
    assert '"sequences": 96' in text
    subprocess.run(["pdftoppm", "-r", "20", "-f", "1", "-l", "1", file, tmp_path / "page"], check=True)
    (pixels,) = (image.read_bytes() for image in tmp_path.glob("page-*.ppm"))
    body = pixels[-3 * 100 :]  # the end of the page: margin
    assert min(body) > 240
