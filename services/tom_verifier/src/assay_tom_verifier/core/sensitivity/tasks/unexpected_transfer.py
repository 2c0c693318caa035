"""Unexpected transfer: a thing is moved while somebody may be away. After the "Sally-Anne" task (Baron-Cohen 1985)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from assay_tom_verifier.core.sensitivity.tasks.item import Cell, Item
from assay_tom_verifier.core.sensitivity.tasks.words import PLACES, ROOMS, THINGS

CONDITIONS = ("false belief", "no transfer", "informed", "present")

_START = (
    "{name} and {friend} are in the {room}, where there are a {first} and a {second}.",
    "In the {room} stand a {second} and a {first}; {friend} and {name} are there.",
    "{friend} helps {name} to tidy the {room}. It has a {first} and a {second}.",
)
_PUT = (
    "{name} puts the {thing} into the {first}",
    "{name} hides the {thing} in the {first}",
    "With care {name} lays the {thing} in the {first}",
)
_LEAVE = (" and goes out.", ", then leaves for a walk.", ". After that {name} is called away.")
_STAY = (" and stays.", ", then sits down to watch.", ". After that {name} keeps an eye on it.")
_MOVE = (
    "{friend} takes the {thing} out and moves it to the {second}.",
    "{friend} carries the {thing} over to the {second}.",
    "For no reason {friend} brings the {thing} to the {second}.",
)
_LEFT_ALONE = (
    "{friend} dusts the {second} and touches nothing else.",
    "{friend} walks to the {second} and sings a song.",
    "For no reason {friend} knocks on the {second}.",
)
_TOLD = (
    "Later {friend} tells {name} all about it: the {thing} is in the {second} now.",
    "Then {friend} writes to {name} that the {second} has the {thing} in it.",
    "On the phone {name} hears from {friend} of the {second} and the {thing} in it.",
)
_REALITY = (
    "In fact the {thing} is in the",
    "Where the {thing} really lies is the",
    "Anyone who wants the {thing} has to open the",
)
_BELIEF = (
    "{name} believes that the {thing} is in the",
    "When {name} wants the {thing}, the first place to look is the",
    "Ask {name}, and the {thing} is in the",
)


@dataclass(frozen=True)
class Template:
    """A thing, two places, a room, and how each sentence is put: indices into the wordings."""

    thing: str
    places: tuple[str, str]
    room: str
    wording: tuple[int, ...]

    def items(self, number: int, name: str, friend: str) -> list[Item]:
        """All cells of the template: conditions x reversed x (belief, reality)."""
        return [
            item
            for condition in CONDITIONS
            for swapped in (False, True)
            for item in self._cell(Cell("unexpected-transfer", number, condition, swapped), name, friend)
        ]

    def _cell(self, cell: Cell, name: str, friend: str) -> list[Item]:
        first, second = self.places[::-1] if cell.reversed else self.places
        start, put, went, moved, reality, belief = self.wording
        presence = _STAY if cell.condition == "present" else _LEAVE
        happened = _LEFT_ALONE if cell.condition == "no transfer" else _MOVE
        parts = [_START[start], _PUT[put] + presence[went], happened[moved]]
        if cell.condition == "informed":
            parts.append(_TOLD[moved])
        words = {
            "thing": self.thing,
            "room": self.room,
            "name": name,
            "friend": friend,
            "first": first,
            "second": second,
        }
        story = " ".join(parts).format(**words)
        really, not_really = (first, second) if cell.condition == "no transfer" else (second, first)
        believed, unbelieved = (first, second) if cell.condition == "false belief" else (really, not_really)
        return [
            Item(cell, "belief", story, _BELIEF[belief].format(**words), believed, unbelieved),
            Item(cell, "reality", story, _REALITY[reality].format(**words), really, not_really),
        ]


def _wording(number: int) -> tuple[int, ...]:
    """Each wording in four templates or more, no combination twice."""
    return (
        number % 3,
        number // 3 % 3,
        (number + number // 3) % 3,
        (number + number // 9) % 3,
        (number // 2) % 3,
        (number + number // 5) % 3,
    )


TEMPLATES: tuple[Template, ...] = tuple(
    Template(THINGS[number], places, ROOMS[number % len(ROOMS)], _wording(number))
    for number, places in enumerate(
        (
            ("drawer", "basket"),
            ("cupboard", "trunk"),
            ("closet", "vase"),
            ("piano", "locker"),
            ("suitcase", "cabinet"),
            ("oven", "backpack"),
            ("mailbox", "shed"),
            ("fridge", "toolbox"),
            ("bookcase", "freezer"),
            ("sideboard", "kettle"),
            ("basket", "piano"),
            ("trunk", "vase"),
            ("cabinet", "oven"),
            ("locker", "mailbox"),
            ("shed", "suitcase"),
            ("backpack", "closet"),
            ("kettle", "cupboard"),
            ("toolbox", "drawer"),
            ("freezer", "sideboard"),
            ("bookcase", "fridge"),
        )
    )
)


def draw(random: Random) -> Template:
    """Another template in the same words; never one with the two places of a fixed template."""
    fixed = {frozenset(template.places) for template in TEMPLATES}
    while True:
        first, second = random.sample(PLACES, 2)
        if frozenset((first, second)) not in fixed:
            break
    return Template(
        random.choice(THINGS),
        (first, second),
        random.choice(ROOMS),
        tuple(random.randrange(3) for _ in range(6)),
    )
