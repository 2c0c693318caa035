"""What is asked of a story, and what the answer is made of."""

from __future__ import annotations

import enum
from dataclasses import dataclass

# Who thinks that who thinks: ("Owen", "Liam") is what Owen thinks Liam thinks. Empty: where the object really is.
Chain = tuple[str, ...]


class Profile(enum.Enum):
    """How claims change beliefs about beliefs."""

    # As the published generator's tables have it: a claim changes what the hearer thinks and what pairs of speaker and
    # hearer think of one another, and no longer chain.
    HITOM = "hitom"
    # As logic has it: a public claim is common knowledge among all who hear it.
    COMMON_KNOWLEDGE = "common_knowledge"


@dataclass(frozen=True)
class Question:
    """Where `chain` thinks `thing` is, at the end of the story."""

    thing: str
    chain: Chain

    @property
    def order(self) -> int:
        """0: where the object really is; n: n agents thinking about one another."""
        return len(self.chain)


@dataclass(frozen=True)
class Belief:
    """Where a chain of agents thinks an object is after a step.

    container: None where nobody in the chain can tell yet. rule: what the last change came from, in words that a
    reader of the story understands; line: the number of the story's line where it changed, 0 before any.
    """

    container: str | None
    rule: str
    line: int
