"""Irony: what is said against what is meant. Each pair tells one remark after an event that went badly, and well."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from assay_tom_verifier.core.sensitivity.tasks.item import Cell, Item
from assay_tom_verifier.core.sensitivity.tasks.words import EVENTS, PRAISE_AND_BLAME

CONDITIONS = ("ironic", "sincere")

_WELL = (
    "went well from start to end",
    "was all that anybody could wish for",
    "made everyone happy",
    "turned out better than planned",
)
_BADLY = (
    "went wrong from start to end",
    "was a failure in every way",
    "made everyone leave early",
    "turned out worse than feared",
)
_STORY = (
    "{name} came for the {event}, and it {outcome}. What a {said} {event}, says {name}.",
    "The {event} {outcome}. Afterwards {name} turns to {friend}: that was {said}.",
    "{friend} asks {name} about the {event}, which {outcome}. Oh, it was {said}, says {name}.",
)
_MEANT = (
    "{name} really thinks that the {event} was",
    "At heart {name} found the {event}",
    "What {name} means is that the {event} was",
)
_SAID = (
    "The word that {name} used for the {event} is",
    "Aloud {name} called the {event}",
    "What {name} says is that the {event} was",
)


@dataclass(frozen=True)
class Template:
    """An event, praise and blame for it, and how each sentence is put: outcome, story, question."""

    event: str
    praise_and_blame: tuple[str, str]
    wording: tuple[int, int, int]

    def items(self, number: int, name: str, friend: str) -> list[Item]:
        """All cells: (ironic, sincere) x (praise, blame: reversed) x (what is meant: belief; what is said: reality)."""
        return [
            item
            for condition in CONDITIONS
            for swapped in (False, True)
            for item in self._cell(Cell("irony", number, condition, swapped), name, friend)
        ]

    def _cell(self, cell: Cell, name: str, friend: str) -> list[Item]:
        said, unsaid = self.praise_and_blame[::-1] if cell.reversed else self.praise_and_blame
        went_well = (cell.condition == "sincere") != cell.reversed
        outcome, story, question = self.wording
        words = {"name": name, "friend": friend, "event": self.event, "said": said}
        words["outcome"] = (_WELL if went_well else _BADLY)[outcome]
        meant, unmeant = (said, unsaid) if cell.condition == "sincere" else (unsaid, said)
        told = _STORY[story].format(**words)
        return [
            Item(cell, "belief", told, _MEANT[question].format(**words), meant, unmeant),
            Item(cell, "reality", told, _SAID[question].format(**words), said, unsaid),
        ]


TEMPLATES: tuple[Template, ...] = tuple(
    Template(EVENTS[number], PRAISE_AND_BLAME[(number + number // 4) % 4], (number % 4, number % 3, number // 2 % 3))
    for number in range(12)
)


def draw(random: Random) -> Template:
    """Another template in the same words; never a fixed one's event with its own praise and blame."""
    fixed = {(template.event, template.praise_and_blame) for template in TEMPLATES}
    while True:
        event, pair = random.choice(EVENTS), random.choice(PRAISE_AND_BLAME)
        if (event, pair) not in fixed:
            return Template(event, pair, (random.randrange(4), random.randrange(3), random.randrange(3)))
