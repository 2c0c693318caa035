"""What a model is asked: a text to go on with, the word that is right, and the word that a mistake would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["unexpected-contents", "unexpected-transfer", "irony", "localisation", "language"]
Asks = Literal["belief", "reality"]

# Those that need somebody's mind to be told from the world.
THEORY_OF_MIND: tuple[Task, ...] = ("unexpected-contents", "unexpected-transfer", "irony")


@dataclass(frozen=True)
class Cell:
    """One setting of one template; a cell is passed where all its items are answered right.

    reversed: the two words that the answer lies between have changed places.
    """

    task: Task
    template: int
    condition: str
    reversed: bool


@dataclass(frozen=True)
class Item:
    """The answer goes on from `prompt` after a space; both words are lower-case or names, without punctuation.

    question: the begun sentence that the answer ends. foil: what would be right if the other place, content or meaning
    held. asks: after a belief, or after the world.
    """

    cell: Cell
    asks: Asks
    story: str
    question: str
    answer: str
    foil: str

    @property
    def prompt(self) -> str:
        return f"{self.story} {self.question}"
