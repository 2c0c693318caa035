"""Load, ask, update, announce, contract: the same on every backend."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.evaluate import extension, meanings
from assay_tom_verifier.core.epistemic.formulas import Formula, uses_distributed
from assay_tom_verifier.core.epistemic.frames import check_events, check_formula, check_model
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel, Model
from assay_tom_verifier.core.epistemic.structure import Limits, Setting, Structure

_FITTING = 1024


class Reduction(enum.Enum):
    """What is done to a model after every update."""

    # Prune, then contract. Bisimilar worlds agree on every formula without D, and on no promise with it: what a rules
    # out may be another copy of the world that b rules out.
    CONTRACT = "contract"
    # Unreachable worlds are out of every formula's sight, D's included.
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
    """A pointed model in a backend's form.

    merged: whether some contraction on the way made one world of several, so that D[...] can no longer be asked for.
    made: counts the worlds of the update that it came from.
    """

    structure: Structure[Any]
    merged: bool = False
    made: Callable[[], UpdateReport] | None = None

    @cached_property
    def report(self) -> UpdateReport | None:
        """Of the update that made it, None of a model as loaded. Counted when asked for: counting takes its time."""
        return None if self.made is None else self.made()

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
        # Formulas found to fit a model: loops ask the same ones over and over.
        self._fitting: dict[int, tuple[Formula, tuple[str, ...], tuple[str, ...]]] = {}

    def load(self, model: Model) -> State:
        """The model checked, pruned and contracted. Raises InvalidInput where it is not what it says."""
        check_model(model)
        with self._guarded():
            structure = self._load(model)
            if self.reduction is not Reduction.NONE:
                structure = structure.pruned()
            return State(*self._contracted(structure, False))

    @abstractmethod
    def _load(self, model: Model) -> Structure[Any]:
        """`model`, already checked, as it stands."""

    def _guarded(self) -> AbstractContextManager[None]:
        """Around all work of a backend, which may have errors of its own to translate."""
        return nullcontext()

    def holds(self, state: State, formula: Formula) -> bool:
        """Whether `formula` is true at the actual world."""
        self._check(state, formula)
        with self._guarded():
            return state.structure.has_point(extension(formula, state.structure))

    def valid(self, state: State, formula: Formula) -> bool:
        """Whether `formula` is true at every world of the model."""
        self._check(state, formula)
        with self._guarded():
            return state.structure.is_everything(extension(formula, state.structure))

    def update(self, state: State, events: EventModel) -> State:
        """The product update. Raises FailedPrecondition where events.point cannot happen at the actual world."""
        check_events(events, state.agents, state.atoms)
        for formula in events.formulas():
            _check_distributed(state, formula)
        structure = state.structure
        with self._guarded():
            meant = meanings(events, structure)
            if not structure.has_point(meant.pre[events.point]):
                raise FailedPrecondition(
                    f"event {events.name}: {events.point} cannot happen at the actual world, where its precondition "
                    "is false; the model stays as it was, so choose another event",
                    reason="EVENT_NOT_APPLICABLE",
                )
            after, whole = structure.updated(events, meant, self.reduction is not Reduction.NONE)
            return self._settled(state, after, lambda: whole)

    def announce(self, state: State, formula: Formula) -> State:
        """Everyone hears `formula`. Raises FailedPrecondition where it is false at the actual world."""
        self._check(state, formula)
        with self._guarded():
            heard = extension(formula, state.structure)
            if not state.structure.has_point(heard):
                raise FailedPrecondition(
                    "announcement: is false at the actual world, and only truths can be announced; the model stays as "
                    "it was, so announce something true, or its negation",
                    reason="EVENT_NOT_APPLICABLE",
                )
            left: Structure[Any] = state.structure.restricted(heard)
            return self._settled(state, left if self.reduction is Reduction.NONE else left.pruned(), left.count)

    def _settled(self, before: State, reachable: Structure[Any], whole: Callable[[], int]) -> State:
        last, merged = self._contracted(reachable, before.merged)
        return State(last, merged, lambda: UpdateReport(whole(), reachable.count(), last.count(), last.blind()))

    def _contracted(self, structure: Structure[Any], merged: bool) -> tuple[Structure[Any], bool]:
        if self.reduction is not Reduction.CONTRACT:
            return structure, merged
        last = structure.contracted()
        return last, merged or (last is not structure and last.count() < structure.count())

    def contract(self, state: State) -> State:
        """Pruned and contracted, whatever this engine's reduction; `report` counts from the worlds before."""
        with self._guarded():
            reachable = state.structure.pruned()
            return self.reducing(Reduction.CONTRACT)._settled(state, reachable, state.structure.count)

    def reducing(self, reduction: Reduction) -> Self:
        """An engine like this one, that shares what it holds and reduces otherwise."""
        other = copy(self)
        other.reduction = reduction
        return other

    def _check(self, state: State, formula: Formula) -> None:
        found = self._fitting.get(id(formula))
        if found is None or found[1] is not state.agents or found[2] is not state.atoms:
            check_formula(formula, state.agents, state.atoms)
            if len(self._fitting) >= _FITTING:
                self._fitting.clear()
            self._fitting[id(formula)] = (formula, state.agents, state.atoms)
        _check_distributed(state, formula)

    def considered(self, state: State, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        """What `chain` holds possible: the subsets of `atoms` true at the worlds that it leads to from the actual one.

        ("Owen", "Liam") asks for what Owen thinks Liam holds possible: B[Owen] B[Liam] f is true where f is true of
        every one of them. Of no chain, what is actually true.
        """
        with self._guarded():
            return state.structure.considered(chain, atoms)

    def export(self, state: State) -> EpistemicModel:
        """The model as a declaration, world by world. Raises ResourceExhausted over the cap on worlds."""
        with self._guarded():
            return state.structure.exported()


def _check_distributed(state: State, formula: Formula) -> None:
    if state.merged and uses_distributed(formula):
        raise FailedPrecondition(
            "formula: asks for distributed knowledge of a model whose bisimilar worlds are merged, which does not keep "
            "it; load and update the model with pruning alone",
            reason="MODEL_CONTRACTED",
        )
