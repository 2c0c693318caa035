"""What names mean at some place of a text."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay_tom_verifier.core.epistemic.formulas import Formula
from assay_tom_verifier.core.epistemic.models import EventModel


@dataclass
class Scope:
    """agents, atoms: None where any name will do, since no model says."""

    agents: tuple[str, ...] | None = None
    atoms: frozenset[str] | None = None
    events: dict[str, EventModel] = field(default_factory=dict)
    defined: dict[str, Formula] = field(default_factory=dict)

    @classmethod
    def of(cls, agents: tuple[str, ...], atoms: tuple[str, ...]) -> Scope:
        return cls(agents, frozenset(atoms))
