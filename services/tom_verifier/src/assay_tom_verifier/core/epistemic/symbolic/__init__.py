"""Worlds as a Boolean function, by binary decision diagrams: models of more worlds than can be listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from assay.cancel import CancelToken
from assay.errors import ResourceExhausted, Unimplemented
from assay_tom_verifier.core.epistemic.engine import Engine, Reduction, State
from assay_tom_verifier.core.epistemic.models import EventModel, Model
from assay_tom_verifier.core.epistemic.structure import Limits, Structure


class SymbolicEngine(Engine):
    """Needs dd with CUDD, the optional extra `symbolic`; raises Unimplemented without it.

    The cap is on decision nodes of all its models together, not on worlds. Cancellation is polled between operations
    on diagrams: one alone cannot be stopped, and the cap is what bounds it, at the default to under 0.2 s.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        cancel: CancelToken | None = None,
        reduction: Reduction = Reduction.CONTRACT,
    ) -> None:
        super().__init__(limits=limits, cancel=cancel, reduction=reduction)
        try:
            from assay_tom_verifier.core.epistemic.symbolic.manager import Manager
        except ImportError as error:
            raise Unimplemented(
                "backend: decision diagrams need dd with CUDD, which is not installed; install "
                "assay-tom-verifier[symbolic], or choose the explicit backend",
                reason="NO_SYMBOLIC_BACKEND",
            ) from error
        self._manager = Manager(self.setting)

    def _load(self, model: Model) -> Structure[Any]:
        from assay_tom_verifier.core.epistemic.symbolic.load import load

        return load(model, self._manager)

    def load(self, model: Model) -> State:
        state = super().load(model)
        self._manager.check_nodes()
        return state

    def update(self, state: State, events: EventModel) -> State:
        after = super().update(state, events)
        self._manager.check_nodes()
        return after

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            # What dd makes of CUDD's null pointer: the manager's memory is used up.
            if "NULL" not in str(error):
                raise
            raise ResourceExhausted(
                f"model: needs more than {self.setting.limits.nodes:,} decision nodes; order related atoms side by "
                "side, or raise the cap",
                reason="TOO_MANY_NODES",
            ) from error
