"""Dynamic epistemic logic straight from its definitions, with Python sets: the reference for both backends.

Shares the declarations with the engine, and nothing that computes. Worlds are any hashable things; a model is
(worlds, relations, facts): relations agent -> set of pairs, facts world -> set of true atoms.
"""

from __future__ import annotations

import itertools

from assay_tom_verifier.core.epistemic import formulas as f
from assay_tom_verifier.core.epistemic.models import EpistemicModel, KnowledgeStructure


class Model:
    def __init__(self, worlds, relations, facts):
        self.worlds, self.relations, self.facts = worlds, relations, facts


def declared(model: EpistemicModel | KnowledgeStructure):
    """The model and its point."""
    if isinstance(model, EpistemicModel):
        relations = {a: {(w, v) for w, seen in r.items() for v in seen} for a, r in model.relations.items()}
        return Model(set(model.worlds), relations, {w: set(true) for w, true in model.worlds.items()}), model.point
    corners = [
        frozenset(a for a, bit in zip(model.atoms, bits, strict=True) if bit)
        for bits in itertools.product([False, True], repeat=len(model.atoms))
    ]
    bare = Model(set(corners), {}, {w: set(w) for w in corners})
    worlds = {w for w in corners if true(bare, w, model.law)}
    relations = {
        a: {(w, v) for w in worlds for v in worlds if w & set(model.observes[a]) == v & set(model.observes[a])}
        for a in model.agents
    }
    return Model(worlds, relations, {w: set(w) for w in worlds}), frozenset(model.actual)


def successors(model, agent, world):
    return {v for (w, v) in model.relations[agent] if w == world}


def true(model, world, formula) -> bool:
    match formula:
        case f.Constant(value):
            return value
        case f.Atom(name):
            return name in model.facts[world]
        case f.Not(inner):
            return not true(model, world, inner)
        case f.And(parts):
            return all(true(model, world, part) for part in parts)
        case f.Or(parts):
            return any(true(model, world, part) for part in parts)
        case f.Implies(a, b):
            return not true(model, world, a) or true(model, world, b)
        case f.Iff(a, b):
            return true(model, world, a) == true(model, world, b)
        case f.Knows(agent, inner) | f.Believes(agent, inner):
            return all(true(model, v, inner) for v in successors(model, agent, world))
        case f.KnowsWhether(agent, inner):
            return true(model, world, f.Or((f.Knows(agent, inner), f.Knows(agent, f.Not(inner)))))
        case f.Distributed(agents, inner):
            together = set.intersection(*(successors(model, agent, world) for agent in agents))
            return all(true(model, v, inner) for v in together)
        case f.Common(agents, inner):
            reached, frontier = set(), {world}
            while frontier:
                frontier = {v for w in frontier for agent in agents for v in successors(model, agent, w)} - reached
                reached |= frontier
            return all(true(model, v, inner) for v in reached)
        case f.Announced(announcement, inner):
            return not true(model, world, announcement) or true(announced(model, announcement), world, inner)
        case f.After(events, event, inner):
            if not true(model, world, events.events[event].pre):
                return True
            return true(product(model, events), (world, event), inner)
    raise AssertionError(formula)


def announced(model, formula):
    worlds = {w for w in model.worlds if true(model, w, formula)}
    relations = {a: {(w, v) for (w, v) in r if w in worlds and v in worlds} for a, r in model.relations.items()}
    return Model(worlds, relations, {w: model.facts[w] for w in worlds})


def product(model, events):
    worlds = {(w, e) for w in model.worlds for e, event in events.events.items() if true(model, w, event.pre)}
    relations = {
        a: {
            ((w, e), (v, g))
            for (w, e) in worlds
            for (v, g) in worlds
            if (w, v) in model.relations[a] and g in events.relations[a][e]
        }
        for a in model.relations
    }
    facts = {}
    for w, e in worlds:
        facts[w, e] = set(model.facts[w])
        for atom, value in events.events[e].post.items():
            (facts[w, e].add if true(model, w, value) else facts[w, e].discard)(atom)
    return Model(worlds, relations, facts)
