"""Variables and nodes that diagrams of one model share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from dd import cudd

from assay.errors import ResourceExhausted
from assay_tom_verifier.core.epistemic.structure import Setting

# A decision diagram; `&`, `|`, `~` and `==` work on it.
Diagram = Any

# Copies of every world variable: here, there (a successor), and a rival of each while contracting.
HERE, THERE, RIVAL, RIVAL_THERE = "", "'", "r", "r'"
_COPIES = (HERE, THERE, RIVAL, RIVAL_THERE)
# Within an operation memory bounds what nodes do between operations.
_NODE_BYTES, _FIXED_BYTES = 96, 48 << 20
# CUDD counts nodes by looking at every one: milliseconds.
_POLLS = 1024
# After an operation that took so long the next may take minutes: nodes are counted at once.
_LONG_S = 0.02


class Manager:
    """Variable i has its copies side by side in the order, so that "there as here" takes three nodes."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.bdd = cudd.BDD(initial_cache_size=1 << 15)
        # The order is the declaration's: sifting would move copies apart, and cost more than it saves on laws.
        self.bdd.configure(reordering=False, max_memory=_FIXED_BYTES + _NODE_BYTES * setting.limits.nodes)
        self._declared = self._polls = 0
        self._polled_at = time.monotonic()

    def poll(self) -> None:
        """Raises Cancelled, or ResourceExhausted over the cap on nodes."""
        self.setting.cancel.check()
        self._polls += 1
        now = time.monotonic()
        if self._polls % _POLLS == 0 or now - self._polled_at > _LONG_S:
            self.check_nodes()
            now = time.monotonic()
        self._polled_at = now

    def check_nodes(self) -> None:
        """Raises ResourceExhausted over the cap on nodes."""
        if (nodes := len(self.bdd)) > self.setting.limits.nodes:
            raise ResourceExhausted(
                f"model: holds {nodes:,} decision nodes, over the cap of {self.setting.limits.nodes:,}; order related "
                "atoms side by side, or raise the cap",
                reason="TOO_MANY_NODES",
            )

    def declare(self, count: int) -> None:
        """Variables 0 to count - 1 are there from now on."""
        for index in range(self._declared, count):
            self.bdd.declare(*(self.name(index, copy) for copy in _COPIES))
        self._declared = max(self._declared, count)

    def name(self, index: int, copy: str = HERE) -> str:
        return f"v{index}{copy}"

    def var(self, index: int, copy: str = HERE) -> Diagram:
        return self.bdd.var(self.name(index, copy))

    def moved(self, diagram: Diagram, variables: Iterable[int], pairs: dict[str, str]) -> Diagram:
        """`diagram` with copies renamed: `pairs` says which becomes which."""
        names = {self.name(i, old): self.name(i, new) for i in variables for old, new in pairs.items()}
        return self.bdd.let(names, diagram) if names else diagram

    def some(self, first: Diagram, second: Diagram, variables: Iterable[int], copy: str = HERE) -> Diagram:
        """Whether both are true for some values of a copy of `variables`."""
        self.poll()
        names = [self.name(i, copy) for i in variables]
        return cudd.and_exists(first, second, names) if names else first & second

    def alike(self, variables: Iterable[int], one: str, other: str) -> Diagram:
        """Two copies agree on `variables`."""
        same = self.bdd.true
        for index in sorted(variables, reverse=True):
            same &= self.var(index, one).equiv(self.var(index, other))
        return same

    def among(self, numbers: Sequence[int], variables: Sequence[int], copy: str = HERE) -> Diagram:
        """The values of `variables` that write one of `numbers` (ascending, distinct), the first bit the highest."""
        if not variables:
            return self.bdd.true if numbers else self.bdd.false
        if not numbers:
            return self.bdd.false
        if len(numbers) == 1 << len(variables):
            return self.bdd.true
        half = 1 << (len(variables) - 1)
        low = self.among([number for number in numbers if number < half], variables[1:], copy)
        high = self.among([number - half for number in numbers if number >= half], variables[1:], copy)
        return self.bdd.ite(self.var(variables[0], copy), high, low)

    def any_of(self, diagrams: list[Diagram]) -> Diagram:
        """The disjunction, by halves: a long chain of ever larger ones costs its square."""
        if len(diagrams) < 2:
            return diagrams[0] if diagrams else self.bdd.false
        self.poll()
        half = len(diagrams) // 2
        return self.any_of(diagrams[:half]) | self.any_of(diagrams[half:])
