"""Unexpected contents: a label says one thing, the package holds another. After the "Smarties" task (Perner 1987).

Of the four conditions one alone leaves a false belief; in the others the same person believes what is true because the
label is right, because somebody told, or because the package stands open.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from assay_tom_verifier.core.sensitivity.tasks.item import Cell, Item
from assay_tom_verifier.core.sensitivity.tasks.words import CONTENTS, PACKAGES, SPOTS

CONDITIONS = ("false belief", "correct label", "informed", "open container")

_INSIDE = (
    "A {package} stands {spot}. It is filled with {inside}.",
    "Somebody left a {package} {spot} and packed it with {inside}.",
    "There is a {package} {spot}; what lies in it is nothing but {inside}.",
    "{spot_first} you find a {package} with a lot of {inside} inside.",
)
_LABEL = (
    "The label on the {package} says {label}.",
    "In large letters the {package} promises {label}.",
    "A sticker on the {package} reads {label}.",
    "On its side the {package} bears the word {label}.",
)
_CLOSED = (
    "{name} has never seen it before, cannot look inside and reads what is written on it.",
    "{name} comes by, reads the writing and leaves the {package} shut.",
    "{name} studies the writing but may not open it.",
)
_TOLD = (
    "{name} reads the writing on the shut {package}; then {friend}, who packed it, tells {name} about the {inside}.",
    "{friend} packed it and calls {name}: it holds {inside}. Then {name} reads the writing and leaves it shut.",
    "{name} may not open it, but {friend}, who packed it, has shown {name} a picture of the {inside} in it.",
)
_OPEN = (
    "The lid is off. {name} reads the writing and looks inside.",
    "{name} comes by, reads the writing, opens the {package} and looks in.",
    "The {package} is made of clear glass, so {name} sees what is inside and reads the writing too.",
)
_REALITY = (
    "In fact the {package} is full of",
    "What the {package} really holds is",
    "Anyone who empties the {package} will find",
)
_BELIEF = (
    "{name} believes that the {package} is full of",
    "Ask {name}, and the {package} holds",
    "{name} expects to find in it",
)


@dataclass(frozen=True)
class Template:
    """A package, two contents, a spot, and how each sentence is put: indices into the wordings, label_first last."""

    package: str
    contents: tuple[str, str]
    spot: str
    wording: tuple[int, int, int, int, int]
    label_first: bool

    def items(self, number: int, name: str, friend: str) -> list[Item]:
        """All cells of the template: conditions x reversed x (belief, reality)."""
        return [
            item
            for condition in CONDITIONS
            for swapped in (False, True)
            for item in self._cell(Cell("unexpected-contents", number, condition, swapped), name, friend)
        ]

    def _cell(self, cell: Cell, name: str, friend: str) -> list[Item]:
        inside, other = self.contents[::-1] if cell.reversed else self.contents
        label = inside if cell.condition == "correct label" else other
        inside_at, label_at, access_at, reality_at, belief_at = self.wording
        access = {"informed": _TOLD, "open container": _OPEN}.get(cell.condition, _CLOSED)
        told = [_INSIDE[inside_at], _LABEL[label_at]]
        words = {
            "package": self.package,
            "inside": inside,
            "label": label,
            "name": name,
            "friend": friend,
            "spot": self.spot,
            "spot_first": self.spot[0].upper() + self.spot[1:],
        }
        story = " ".join([*(told[::-1] if self.label_first else told), access[access_at]]).format(**words)
        believed, unbelieved = (other, inside) if cell.condition == "false belief" else (inside, other)
        return [
            Item(cell, "belief", story, _BELIEF[belief_at].format(**words), believed, unbelieved),
            Item(cell, "reality", story, _REALITY[reality_at].format(**words), inside, other),
        ]


def _wording(number: int) -> tuple[int, int, int, int, int]:
    """Each wording in four templates or more, no combination twice."""
    return number % 4, (number // 4 + number) % 4, number % 3, (number + number // 3) % 3, (number + number // 5) % 3


TEMPLATES: tuple[Template, ...] = tuple(
    Template(PACKAGES[number], contents, SPOTS[number % len(SPOTS)], _wording(number), number % 2 == 1)
    for number, contents in enumerate(
        (
            ("walnuts", "buttons"),
            ("honey", "paint"),
            ("nails", "cookies"),
            ("rice", "sand"),
            ("raisins", "coins"),
            ("tea", "charcoal"),
            ("plums", "marbles"),
            ("flour", "chalk"),
            ("letters", "socks"),
            ("candles", "maps"),
            ("seeds", "beads"),
            ("salt", "soap"),
            ("photos", "gloves"),
            ("oats", "feathers"),
            ("matches", "stamps"),
            ("olives", "batteries"),
            ("pepper", "glue"),
            ("screws", "lentils"),
            ("sugar", "pebbles"),
            ("yarn", "cork"),
        )
    )
)


def draw(random: Random) -> Template:
    """Another template in the same words; never one with the two contents of a fixed template."""
    fixed = {frozenset(template.contents) for template in TEMPLATES}
    while True:
        first, second = random.sample(CONTENTS, 2)
        if frozenset((first, second)) not in fixed:
            break
    return Template(
        random.choice(PACKAGES),
        (first, second),
        random.choice(SPOTS),
        (random.randrange(4), random.randrange(4), random.randrange(3), random.randrange(3), random.randrange(3)),
        random.random() < 0.5,
    )
