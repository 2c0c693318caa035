"""Worlds listed one by one; sets of them are bit sets."""

from __future__ import annotations

from typing import Any

from assay_tom_verifier.core.epistemic.engine import Engine
from assay_tom_verifier.core.epistemic.explicit.load import load_cube, load_listed
from assay_tom_verifier.core.epistemic.models import KnowledgeStructure, Model
from assay_tom_verifier.core.epistemic.structure import Structure


class ExplicitEngine(Engine):
    """Fast for up to some thousand worlds; knowledge structures for up to twenty atoms."""

    def _load(self, model: Model) -> Structure[Any]:
        if isinstance(model, KnowledgeStructure):
            return load_cube(model, self.setting)
        return load_listed(model, self.setting)
