"""Plots of strangers: read as XML and written anew, from what is known to be harmless alone.

What comes out may stand in an HTML page: no script, handler, link, animation, style sheet or reference that leaves
the plot, and every id under a prefix of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from xml.parsers import expat

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
XLINK_NAMESPACE = "http://www.w3.org/1999/xlink"
MAX_BYTES = 4 * 2**20
MAX_ELEMENTS = 100_000
MAX_DEPTH = 64
MAX_DRAWN = 2_000_000
MAX_CHAIN = 64  # references from one part to another to another


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


ELEMENTS = _names(
    """
    svg g defs path rect circle ellipse line polyline polygon text tspan textPath title desc use symbol marker
    pattern clipPath mask linearGradient radialGradient stop image
    """
)
# Whatever runs, embeds, links or plays: its presence says that this is no plot.
HOSTILE = _names(
    """
    script foreignObject iframe embed object audio video source canvas handler listener a link meta base form html
    body
    """
)
PRESENTATION = _names(
    """
    alignment-baseline baseline-shift clip-path clip-rule color direction display dominant-baseline fill
    fill-opacity fill-rule font-family font-size font-stretch font-style font-variant font-weight image-rendering
    letter-spacing marker-end marker-mid marker-start mask opacity overflow paint-order
    pointer-events shape-rendering stop-color stop-opacity stroke stroke-dasharray stroke-dashoffset
    stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width text-anchor text-decoration
    text-rendering vector-effect visibility word-spacing writing-mode
    """
)
GEOMETRY = _names(
    """
    transform x y x1 y1 x2 y2 cx cy r rx ry fx fy d points width height viewBox preserveAspectRatio offset
    gradientUnits gradientTransform spreadMethod patternUnits patternContentUnits patternTransform clipPathUnits
    maskUnits maskContentUnits markerUnits markerWidth markerHeight refX refY orient dx dy rotate textLength
    lengthAdjust startOffset pathLength
    """
)
# Say nothing that is drawn.
DROPPED = _names(
    """
    class lang space version base role style baseProfile
    """
)

_ID = re.compile(r"[\w.:-]{1,200}")
_LOCAL_URL = re.compile(r"url\(\s*(['\"]?)#([\w.:-]{1,200})\1\s*\)")
_REACHES_OUT = re.compile(r"url\s*\(|@import|expression|javascript:|image-set|src\s*\(", re.IGNORECASE)
_SAFE_VALUE = re.compile(r"[\w\s#%.,()+*/'\"=-]*")
_RASTER = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=\s]+")
_UNIVERSAL_RULE = re.compile(r"\s*\*\s*\{([^{}]*)\}\s*")


class Hostile(Exception):
    """The plot holds something that no plot needs, and is not shown. The text says what."""


class Unsupported(Exception):
    """Harmless, as far as one can tell, but not to be copied faithfully; show it as an image. The text says what."""


def sanitised(svg: bytes, prefix: str) -> str:
    """`svg` as markup for an HTML page, its ids beginning with `prefix`. Raises Hostile or Unsupported."""
    if len(svg) > MAX_BYTES:
        raise Hostile(f"it is larger than {MAX_BYTES // 2**20} MiB")
    writer = _Writer(prefix)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    parser.EntityDeclHandler = writer.entity
    parser.ProcessingInstructionHandler = writer.instruction
    try:
        parser.Parse(svg, True)
    except expat.ExpatError as error:
        raise Hostile(f"it is no well-formed XML ({expat.errors.messages[error.code]})") from None
    except (ValueError, LookupError):
        raise Hostile("its character encoding is unknown") from None
    return writer.finish()


class _Writer:
    """Takes the parser's events and keeps the output."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._out: list[str] = []
        self._open: list[str] = []  # local names; "" for an element that is left out
        self._skipping = 0  # depth below an element that is left out with all it holds
        self._style: list[str] | None = None
        self._root: dict[str, str] = {}
        self._elements = 0
        self._unsupported = ""
        # What each id holds: references that chain can draw a small file's elements without end.
        self._ids_open: list[tuple[int, str]] = []
        self._held: Counter[str] = Counter()
        self._references: dict[str, list[str]] = {}
        self._drawn: list[str] = []
        self._costs: dict[str, int] = {}

    def entity(self, *_: object) -> None:
        raise Hostile("it declares XML entities")

    def instruction(self, target: str, data: str) -> None:
        if target.lower() != "xml":
            raise Hostile("it names a style sheet outside itself")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        namespace, _, local = name.rpartition("}")
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._open) + self._skipping >= MAX_DEPTH:
            raise Hostile("it holds too many elements, or nests them too deeply")
        if local in HOSTILE or namespace == "http://www.w3.org/1999/xhtml":
            raise Hostile(f"it holds a <{local}> element")
        for attribute in attributes:
            if attribute.rpartition("}")[2].lower().startswith("on"):
                raise Hostile(f"it holds the event handler {attribute.rpartition('}')[2]}")
        if self._elements == 1 and (namespace, local) != (SVG_NAMESPACE, "svg"):
            raise Hostile("it is no SVG")
        if self._skipping or namespace != SVG_NAMESPACE or local == "metadata":
            self._skipping += 1
            return
        if local == "style":
            self._style = []
            self._open.append("")
            return
        if local not in ELEMENTS:
            self._note(f"<{local}> elements")
            self._skipping += 1
            return
        self._begin(local, attributes)

    def end(self, name: str) -> None:
        if self._skipping:
            self._skipping -= 1
            return
        local = self._open.pop()
        if self._ids_open and self._ids_open[-1][0] == len(self._open):
            self._ids_open.pop()
        if local:
            self._out.append(f"</{local}>")
        elif self._style is not None:
            self._apply("".join(self._style))
            self._style = None

    def text(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)
        elif not self._skipping and self._open and (data.strip() or self._open[-1] in ("text", "tspan")):
            self._out.append(escape(data, quote=False))

    def finish(self) -> str:
        if self._elements + sum(map(self._cost, self._drawn)) > MAX_DRAWN:
            raise Hostile("its references would draw it without end")
        if self._unsupported:
            raise Unsupported(self._unsupported)
        size = [_pixels(self._root.get(name, "")) for name in ("width", "height")]
        if "viewBox" not in self._root and all(size):
            self._root["viewBox"] = f"0 0 {size[0]:g} {size[1]:g}"
        root = "".join(f' {name}="{escape(value)}"' for name, value in self._root.items())
        return f"<svg{root}>{''.join(self._out[1:])}"

    def _begin(self, local: str, attributes: Mapping[str, str]) -> None:
        written: dict[str, str] = {}
        style = ""
        if _ID.fullmatch(own := attributes.get("id", "")):
            self._ids_open.append((len(self._open), own))
            written["id"] = self._prefix + own
        self._held.update(name for _, name in self._ids_open)
        for name, value in attributes.items():
            namespace, _, attribute = name.rpartition("}")
            if attribute == "href" and namespace in ("", XLINK_NAMESPACE):
                written["href"] = self._href(local, value)
            elif namespace:
                continue
            elif attribute == "style":
                style = value
            elif attribute in PRESENTATION:
                written[attribute] = self._value(attribute, value)
            elif attribute in GEOMETRY:
                written[attribute] = value
            elif attribute != "id" and attribute not in DROPPED and not attribute.startswith(("data-", "aria-")):
                self._note(f"the attribute {attribute}")
        written.update(self._declarations(style))  # a style wins over attributes
        if not self._open:
            self._root = written
            self._out.append("")
        else:
            tag = "".join(f' {name}="{escape(value)}"' for name, value in written.items())
            self._out.append(f"<{local}{tag}>")
        self._open.append(local)

    def _href(self, local: str, value: str) -> str:
        value = value.strip()
        if value.startswith("#") and _ID.fullmatch(value[1:]):
            return "#" + self._refer(value[1:])
        if local == "image" and _RASTER.fullmatch(value):
            return re.sub(r"\s", "", value)
        raise Hostile("it refers to something outside itself")

    def _refer(self, target: str) -> str:
        self._drawn.append(target)
        for _, name in self._ids_open:
            self._references.setdefault(name, []).append(target)
        return self._prefix + target

    def _cost(self, name: str, above: tuple[str, ...] = ()) -> int:
        """Elements drawn where `name` is referred to, with all that it refers to."""
        if name in above or len(above) > MAX_CHAIN:
            raise Hostile("its references chain into each other")
        if name not in self._costs:
            below = (self._cost(target, (*above, name)) for target in self._references.get(name, ()))
            self._costs[name] = self._held[name] + sum(below)
        return self._costs[name]

    def _value(self, name: str, value: str) -> str:
        """One property's value; references stay inside the plot."""
        inside = _LOCAL_URL.sub(lambda found: f"url(#{self._refer(found[2])})", value)
        rest = _LOCAL_URL.sub("", value)
        _check_css(rest)
        if not _SAFE_VALUE.fullmatch(rest):
            self._note(f"a value of {name}")
        return inside

    def _declarations(self, style: str) -> dict[str, str]:
        """A style attribute as presentation attributes, which a page's content policy lets pass."""
        written: dict[str, str] = {}
        for declaration in filter(str.strip, style.split(";")):
            name, _, value = (part.strip() for part in declaration.partition(":"))
            name = name.lower()
            value = self._value(name, value)
            if name == "font":
                written.update(self._font(value))
            elif name.startswith("-"):
                continue
            elif name in PRESENTATION:
                written[name] = value.removesuffix("!important").strip()
            else:
                self._note(f"the style {name}")
        return written

    def _font(self, value: str) -> dict[str, str]:
        matched = re.fullmatch(
            r"(?:(italic|oblique)\s+)?(?:(bold|\d{3})\s+)?(?:normal\s+)*([\d.]+(?:px|pt|em)?)(?:/\S+)?\s+(.+)", value
        )
        if matched is None:
            self._note("the style font")
            return {}
        given = zip(("font-style", "font-weight", "font-size", "font-family"), matched.groups(), strict=True)
        return {name: part for name, part in given if part}

    def _apply(self, sheet: str) -> None:
        """A style sheet reaches the whole page it stands in; only one rule for everything can be kept."""
        sheet = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
        _check_css(_LOCAL_URL.sub("", sheet))
        rule = _UNIVERSAL_RULE.fullmatch(sheet)
        if rule is None:
            if sheet.strip():
                self._note("a style sheet")
            return
        for name, value in self._declarations(rule[1]).items():
            self._root.setdefault(name, value)

    def _note(self, what: str) -> None:
        self._unsupported = self._unsupported or what


def _check_css(text: str) -> None:
    if "\\" in text:
        raise Hostile("its styles are written with escapes")
    if _REACHES_OUT.search(text):
        raise Hostile("it refers to something outside itself")


def _pixels(length: str) -> float | None:
    matched = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(px|pt)?\s*", length)
    return float(matched[1]) if matched and float(matched[1]) > 0 else None
