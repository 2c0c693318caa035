"""Worlds as a Boolean function, by binary decision diagrams: models of more worlds than can be listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assay.errors import ResourceExhausted, Unimplemented
from assay_tom_verifier.core.epistemic.engine import Engine
from assay_tom_verifier.core.epistemic.models import Model
from assay_tom_verifier.core.epistemic.structure import Structure

if TYPE_CHECKING:
    from assay_tom_verifier.core.epistemic.symbolic.manager import Manager


class SymbolicEngine(Engine):
    """Needs dd with CUDD, the optional extra `symbolic`; raises Unimplemented without it.

    The cap is on decision nodes of all its models together, not on worlds. Cancellation is polled between operations
    on diagrams: one alone cannot be stopped, and the cap is what bounds it.
    """

    @cached_property
    def manager(self) -> Manager:
        """Shared by all models of this engine."""
        try:
            from assay_tom_verifier.core.epistemic.symbolic.manager import Manager
        except ImportError as error:
            raise Unimplemented(
                "backend: decision diagrams need dd with CUDD, which is not installed; install "
                "assay-tom-verifier[symbolic], or choose the explicit backend",
                reason="NO_SYMBOLIC_BACKEND",
            ) from error
        return Manager(self.setting)

    def _load(self, model: Model) -> Structure[Any]:
        manager = self.manager
        from assay_tom_verifier.core.epistemic.symbolic.load import load

        return load(model, manager)

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
