"""What of a stranger's SVG reaches the page."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.checkup.svg import ELEMENTS, Hostile, Unsupported, sanitised

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'


def clean(inner: str) -> str:
    return sanitised(SVG.format(inner).encode(), "p-")


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<script xlink:href="https://example.org/x.js"/>',
        '<g onclick="alert(1)"/>',
        '<g ONLOAD="alert(1)"/>',
        '<g xlink:onload="alert(1)"/>',
        "<foreignObject><p>x</p></foreignObject>",
        '<metadata><p xmlns="http://www.w3.org/1999/xhtml">x</p></metadata>',
        '<h:img xmlns:h="http://www.w3.org/1999/xhtml" src="x"/>',
        '<x:script xmlns:x="http://example.org/other">alert(1)</x:script>',
        "<metadata><script>alert(1)</script></metadata>",
        '<a xlink:href="https://example.org"><text>x</text></a>',
        '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        '<image href="https://example.org/x.png"/>',
        '<image href="file:///etc/passwd"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zy8+"/>',
        '<image href="data:text/html;base64,PHN2Zy8+"/>',
        '<use xlink:href="https://example.org/x.svg#a"/>',
        '<use xlink:href="data:image/svg+xml,x#a"/>',
        '<rect fill="url(https://example.org/x)"/>',
        '<rect fill="URL ( https://example.org/x)"/>',
        '<rect style="fill: url(//example.org/x)"/>',
        '<rect style="background: u\\72l(https://example.org/x)"/>',
        '<rect style="width: expression(alert(1))"/>',
        "<style>@import 'https://example.org/x.css';</style>",
        "<style>*{fill: url(https://example.org)}</style>",
        "<style>*{fill: image-set('https://example.org' 1x)}</style>",
        "<iframe/>",
        '<linearGradient xlink:href="x.svg#a"/>',
        "<g>" * 80 + "</g>" * 80,
        '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>',
        '<g id="a"><rect/></g>'
        + "".join(f'<g id="{b}">{f"""<use href="#{a}"/>""" * 20}</g>' for a, b in pairwise("abcdefg"))
        + '<use href="#g"/>',
        "".join(f'<g id="a{n}"><use href="#a{n + 1}"/></g>' for n in range(2000)),
        '<pattern id="a"><rect fill="url(#a)"/></pattern><rect fill="url(#a)"/>',
    ],
)
def test_what_no_plot_needs_is_refused(inner: str) -> None:
    with pytest.raises(Hostile):
        clean(inner)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no xml",
        b"<svg>unclosed",
        b'<svg viewBox="0 0 1 1"/>',  # of no namespace
        b'<html xmlns="http://www.w3.org/1999/xhtml"/>',
        b'<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b'<!DOCTYPE svg [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x"> %a;]><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml version="1.0" encoding="klingon"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml-stylesheet href="https://example.org/x.css"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<svg xmlns="http://www.w3.org/2000/svg">' + b"<g/>" * 100_001 + b"</svg>",
        b" " * (4 * 2**20 + 1),
    ],
    ids=range(12),
)
def test_what_is_no_svg_is_refused(document: bytes) -> None:
    with pytest.raises(Hostile):
        sanitised(document, "p-")


@pytest.mark.parametrize(
    "inner",
    [
        "<style>.a{fill: red}</style>",
        "<style>*{fill: red} path{fill: blue}</style>",
        '<filter id="f"/>',
        '<rect><animate attributeName="x" from="0" to="9"/></rect>',
        '<rect style="transform: scale(2)"/>',
        '<rect filter="none" unheard-of="1"/>',
    ],
)
def test_what_cannot_be_kept_whole_is_left_to_an_image(inner: str) -> None:
    with pytest.raises(Unsupported):
        clean(inner)


def test_styles_become_attributes_and_ids_are_the_plots_own() -> None:
    out = clean(
        "<style>*{stroke-linejoin: round}</style>"
        '<clipPath id="c"><rect width="4" height="4"/></clipPath>'
        '<path id="x" class="page-class" d="M 0 0" style="fill: none; stroke: currentColor" clip-path="url(#c)"/>'
        '<use xlink:href="#x" x="3"/>'
        """<text style="font: italic bold 10px/1.2 'DejaVu Sans', serif; text-anchor: end">a &lt;b&gt; &amp;</text>"""
    )
    assert out == (
        '<svg viewBox="0 0 9 9" stroke-linejoin="round">'
        '<clipPath id="p-c"><rect width="4" height="4"></rect></clipPath>'
        '<path id="p-x" d="M 0 0" clip-path="url(#p-c)" fill="none" stroke="currentColor"></path>'
        '<use href="#p-x" x="3"></use>'
        '<text font-style="italic" font-weight="bold" font-size="10px" font-family="&#x27;DejaVu Sans&#x27;, serif"'
        ' text-anchor="end">a &lt;b&gt; &amp;</text></svg>'
    )


def test_a_drawing_without_a_view_box_gets_one_from_its_size() -> None:
    out = sanitised(b'<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="20.5"/>', "p-")
    assert 'viewBox="0 0 40 20.5"' in out


def test_a_raster_inside_a_plot_stays() -> None:
    assert "iVBORw0KGgo=" in clean('<image href="data:image/png;base64,iVBORw0K\nGgo="/>')


def draw(kind: str) -> bytes:
    """A plot with most of what matplotlib writes: markers, clips, hatches, an image, mathematics."""
    mpl = pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": kind, "svg.hashsalt": "test"}):
        figure = Figure()
        left, right = figure.subplots(1, 2)
        left.plot([1, 2, 3], marker="o", linestyle=":", label="x")
        left.fill_between([0, 1], [1, 2], hatch="//", alpha=0.3)
        left.errorbar([1, 2], [1, 2], yerr=0.2)
        left.scatter([1, 2], [3, 4])
        left.set_title(r"$x^2$ <b>")
        left.legend()
        figure.colorbar(right.imshow([[0.0, 1.0], [2.0, 3.0]]))
        out = io.StringIO()
        figure.savefig(out, format="svg")
    return out.getvalue().encode()


@pytest.mark.parametrize("kind", ["none", "path"])
def test_what_matplotlib_draws_passes_whole(kind: str) -> None:
    svg = draw(kind)
    out = sanitised(svg, "p-")
    for element in (b"path", b"use", b"image", b"clipPath", b"text"):
        assert out.count(f"<{element.decode()}") == svg.count(b"<" + element + b" ") + svg.count(b"<" + element + b">")


WORDS = """
    script svg g path text use style image title onload href xlink:href id fill a #a url(#a)
    < > / " ' = &lt; &#0; ]]> <!-- --> <![CDATA[ url(http://x) javascript:x { } ; : \\
"""
words = st.sampled_from([*WORDS.split(), " "])


@given(st.lists(words, max_size=30).map("".join))
def test_whatever_comes_out_holds_allowed_elements_alone(inner: str) -> None:
    try:
        out = clean(inner)
    except (Hostile, Unsupported):
        return
    assert set(re.findall(r"<([^\s>/!?]+)", out)) <= ELEMENTS
    assert not re.search(r"<[^>]*\s(on\w+|href=\"(?!#|data:image/(png|jpeg);base64,))", out)
    assert "url(http" not in re.sub(r">[^<]*<", "><", out)
