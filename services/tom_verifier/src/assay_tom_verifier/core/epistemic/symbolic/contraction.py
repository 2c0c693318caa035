"""Which worlds of a diagram no formula tells apart, and the model of one of each."""

from __future__ import annotations

from dataclasses import replace

from assay_tom_verifier.core.epistemic.symbolic.encoding import Encoding
from assay_tom_verifier.core.epistemic.symbolic.manager import HERE, RIVAL, RIVAL_THERE, THERE, Diagram, Manager
from assay_tom_verifier.core.epistemic.symbolic.relation import Pairs


def contract(model: Encoding, manager: Manager) -> Encoding:
    """One world of each class of bisimilar ones: the least in the order of the variables."""
    variables = model.variables
    same = bisimilarity(model, manager)
    # Rival below here, the first variable the highest.
    below = manager.bdd.false
    for index in reversed(variables):
        here, rival = manager.var(index), manager.var(index, RIVAL)
        below = (here & ~rival) | (here.equiv(rival) & below)
    law = model.law & ~manager.some(same, below, variables, RIVAL)
    standing = manager.moved(law, variables, {HERE: THERE})
    # There of a pair, to the world that stands for it.
    stands_for = manager.moved(same, variables, {HERE: RIVAL, RIVAL: THERE}) & standing
    relations = {}
    for agent, relation in model.relations.items():
        pairs = relation.pairs(manager) & law
        met = manager.some(manager.moved(pairs, variables, {THERE: RIVAL}), stands_for, variables, RIVAL)
        relations[agent] = Pairs(met, variables)
    here = {manager.name(i): bit for i, bit in model.point.items()}
    mine = manager.moved(manager.bdd.let(here, same) if here else same, variables, {RIVAL: HERE}) & law
    names = [manager.name(i) for i in variables]
    picked = manager.bdd.pick(mine, names) if names else {}
    point = {i: bool(picked[manager.name(i)]) for i in variables}
    return replace(model, law=law, relations=relations, point=point)


def bisimilarity(model: Encoding, manager: Manager) -> Diagram:
    """The greatest bisimulation, as a diagram over here and rival."""
    variables = model.variables
    same = model.law & manager.moved(model.law, variables, {HERE: RIVAL})
    for value in model.values.values():
        manager.poll()
        same &= value.equiv(manager.moved(value, variables, {HERE: RIVAL}))
    lawful = manager.moved(model.law, variables, {HERE: THERE})
    steps = []
    for relation in model.relations.values():
        mine = relation.pairs(manager) & lawful
        steps.append((mine, manager.moved(mine, variables, {HERE: RIVAL, THERE: RIVAL_THERE})))
    while True:
        before = same
        there = manager.moved(same, variables, {HERE: THERE, RIVAL: RIVAL_THERE})
        for mine, theirs in steps:
            # Every step of mine has one of theirs that leads to the same; symmetric, so the other way round as well.
            answered = manager.some(theirs, there, variables, RIVAL_THERE)
            matched = ~manager.some(mine, ~answered, variables, THERE)
            same &= matched & manager.moved(matched, variables, {HERE: RIVAL, RIVAL: HERE})
        if same == before:
            return same
