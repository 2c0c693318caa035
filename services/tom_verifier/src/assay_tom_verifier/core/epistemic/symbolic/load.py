"""Declarations, and listed worlds, as diagrams."""

from __future__ import annotations

from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.evaluate import extension
from assay_tom_verifier.core.epistemic.explicit.load import load_listed
from assay_tom_verifier.core.epistemic.models import KnowledgeStructure, Model
from assay_tom_verifier.core.epistemic.symbolic.diagrams import Diagrams
from assay_tom_verifier.core.epistemic.symbolic.encoding import Encoding, encode
from assay_tom_verifier.core.epistemic.symbolic.manager import Manager
from assay_tom_verifier.core.epistemic.symbolic.relation import Observing


def load(model: Model, manager: Manager) -> Diagrams:
    """Raises InvalidInput where the actual world breaks the law."""
    if isinstance(model, KnowledgeStructure):
        return _observed(model, manager)
    return Diagrams(manager, model.agents, model.atoms, encode(load_listed(model, manager.setting), manager))


def _observed(model: KnowledgeStructure, manager: Manager) -> Diagrams:
    manager.declare(len(model.atoms))
    number = {atom: index for index, atom in enumerate(model.atoms)}
    relations = {}
    for agent in model.agents:
        observed = frozenset(number[atom] for atom in model.observes.get(agent, ()))
        relations[agent] = Observing(observed, tuple(i for i in number.values() if i not in observed))
    encoding = Encoding(
        tuple(number.values()),
        manager.bdd.true,
        {atom: manager.var(index) for atom, index in number.items()},
        relations,
        {index: atom in model.actual for atom, index in number.items()},
    )
    everything = Diagrams(manager, model.agents, model.atoms, encoding)
    lawful = extension(model.law, everything)
    if not everything.has_point(lawful):
        raise InvalidInput("actual", "breaks the law; name the atoms of a valuation that the law allows")
    return everything.restricted(lawful)
