"""Load, ask, update, announce, contract: the same on every backend."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.evaluate import extension, meanings
from assay_tom_verifier.core.epistemic.formulas import Formula
from assay_tom_verifier.core.epistemic.frames import check_events, check_formula, check_model
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel, Model
from assay_tom_verifier.core.epistemic.structure import Limits, Setting, Structure


class Reduction(enum.Enum):
    """What is done to a model after every update."""

    CONTRACT = "contract"  # prune, then contract: the default everywhere
    PRUNE = "prune"
    NONE = "none"


@dataclass(frozen=True)
class UpdateReport:
    """Worlds of an update: of the whole product, of what can be reached of it, and once contracted.

    not_serial: agents whose beliefs are contradictory at some world by now: no event that an agent holds possible
    could happen at any world that the agent holds possible. KD45 is not closed under updates, S5 is.
    """

    product_worlds: int
    reachable_worlds: int
    worlds: int
    not_serial: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """A pointed model in a backend's form; report: of the update that made it, None of a model as loaded."""

    structure: Structure[Any]
    report: UpdateReport | None = None

    @property
    def agents(self) -> tuple[str, ...]:
        return self.structure.agents

    @property
    def atoms(self) -> tuple[str, ...]:
        return self.structure.atoms

    @property
    def worlds(self) -> int:
        """How many worlds there are, exactly."""
        return self.structure.count()

    @property
    def nodes(self) -> int | None:
        """Decision nodes in use; None where the backend lists its worlds."""
        return self.structure.nodes()


class Engine(ABC):
    """States are immutable: a call that fails leaves the state that it was given as it was.

    cancel: polled throughout; a cancelled call raises Cancelled or DeadlineExceeded. limits: what is over them raises
    ResourceExhausted before it is allocated.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        cancel: CancelToken | None = None,
        reduction: Reduction = Reduction.CONTRACT,
    ) -> None:
        self.setting = Setting(limits or Limits(), cancel or CancelToken())
        self.reduction = reduction

    def load(self, model: Model) -> State:
        """The model checked, pruned and contracted. Raises InvalidInput where it is not what it says."""
        check_model(model)
        structure = self._load(model)
        if self.reduction is not Reduction.NONE:
            structure = structure.pruned()
        if self.reduction is Reduction.CONTRACT:
            structure = structure.contracted()
        return State(structure)

    @abstractmethod
    def _load(self, model: Model) -> Structure[Any]:
        """`model`, already checked, as it stands."""

    def holds(self, state: State, formula: Formula) -> bool:
        """Whether `formula` is true at the actual world."""
        check_formula(formula, state.agents, state.atoms)
        return state.structure.has_point(extension(formula, state.structure))

    def valid(self, state: State, formula: Formula) -> bool:
        """Whether `formula` is true at every world of the model."""
        check_formula(formula, state.agents, state.atoms)
        return bool(extension(formula, state.structure) == state.structure.alive)

    def update(self, state: State, events: EventModel) -> State:
        """The product update. Raises FailedPrecondition where events.point cannot happen at the actual world."""
        check_events(events, state.agents, state.atoms)
        structure = state.structure
        meant = meanings(events, structure)
        if not structure.has_point(meant.pre[events.point]):
            raise FailedPrecondition(
                f"event {events.name}: {events.point} cannot happen at the actual world, where its precondition is "
                "false; the model stays as it was, so choose another event",
                reason="EVENT_NOT_APPLICABLE",
            )
        after, whole = structure.updated(events, meant, self.reduction is not Reduction.NONE)
        return self._settled(after, whole, after.count())

    def announce(self, state: State, formula: Formula) -> State:
        """Everyone hears `formula`. Raises FailedPrecondition where it is false at the actual world."""
        check_formula(formula, state.agents, state.atoms)
        heard = extension(formula, state.structure)
        if not state.structure.has_point(heard):
            raise FailedPrecondition(
                "announcement: is false at the actual world, and only truths can be announced; the model stays as it "
                "was, so announce something true, or its negation",
                reason="EVENT_NOT_APPLICABLE",
            )
        after: Structure[Any] = state.structure.restricted(heard)
        whole = after.count()
        if self.reduction is not Reduction.NONE:
            after = after.pruned()
        return self._settled(after, whole, after.count())

    def _settled(self, after: Structure[Any], whole: int, reachable: int) -> State:
        if self.reduction is Reduction.CONTRACT:
            after = after.contracted()
        return State(after, UpdateReport(whole, reachable, after.count(), after.blind()))

    def contract(self, state: State) -> State:
        """Pruned and contracted, whatever this engine's reduction."""
        return State(state.structure.pruned().contracted(), state.report)

    def considered(self, state: State, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        """What `chain` holds possible: the subsets of `atoms` true at the worlds that it leads to from the actual one.

        ("Owen", "Liam") asks for what Owen thinks Liam holds possible: B[Owen] B[Liam] f is true where f is true of
        every one of them. Of no chain, what is actually true.
        """
        return state.structure.considered(chain, atoms)

    def export(self, state: State) -> EpistemicModel:
        """The model as a declaration, world by world. Raises ResourceExhausted over the cap on worlds."""
        return state.structure.exported()
