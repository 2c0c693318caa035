"""Puzzles of the literature, as texts: they run through the same path as any other script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.puzzles.dining_cryptographers import dining_cryptographers
from assay_tom_verifier.core.epistemic.puzzles.muddy_children import muddy_children
from assay_tom_verifier.core.epistemic.puzzles.russian_cards import russian_cards
from assay_tom_verifier.core.epistemic.puzzles.sum_and_product import sum_and_product


@dataclass(frozen=True)
class Puzzle:
    """size: what n counts, and its own value; low, high: what n may be."""

    text: Callable[[int], str]
    counts: str
    size: int
    low: int
    high: int


# The puzzles by name; sizes stay where a text is short and a run takes seconds.
PUZZLES = {
    "muddy-children": Puzzle(muddy_children, "children, all of them muddy", 3, 2, 100),
    "dining-cryptographers": Puzzle(dining_cryptographers, "cryptographers", 3, 3, 30),
    "sum-and-product": Puzzle(sum_and_product, "the highest sum", 100, 10, 100),
    "russian-cards": Puzzle(lambda _: russian_cards(), "cards", 7, 7, 7),
}


def puzzle_text(name: str, n: int = 0) -> str:
    """The text of a puzzle; n: its size, 0 for its own. Raises InvalidInput for names and sizes it lacks."""
    if (puzzle := PUZZLES.get(name)) is None:
        raise InvalidInput("example.name", f"is {name!r}; there are {', '.join(PUZZLES)}")
    if n and not puzzle.low <= n <= puzzle.high:
        raise InvalidInput(
            "example.n", f"is {n}; {name} takes {puzzle.low} to {puzzle.high}, the number of {puzzle.counts}"
        )
    return puzzle.text(n or puzzle.size)
