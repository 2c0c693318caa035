"""Contraction: as small as bisimulation allows, and true to every formula that it may be asked."""

from __future__ import annotations

import random

import pytest
from unit.tom_verifier.epistemic import naive
from unit.tom_verifier.epistemic.cases import random_events, random_formula, random_model

from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine, relation
from assay_tom_verifier.core.epistemic.formulas import uses_distributed
from assay_tom_verifier.core.epistemic.models import EpistemicModel
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine, diagrams
from assay_tom_verifier.core.epistemic.syntax import parse_formula, parse_script


def bisimilar_classes(model: naive.Model, point) -> int:
    """Classes of the worlds reached from `point`, by deleting pairs that a step tells apart."""
    reached, frontier = {point}, {point}
    while frontier:
        frontier = {v for w in frontier for a in model.relations for v in naive.successors(model, a, w)} - reached
        reached |= frontier
    pairs = {(w, v) for w in reached for v in reached if model.facts[w] == model.facts[v]}
    seen = {(a, w): naive.successors(model, a, w) for a in model.relations for w in reached}

    def answered(w, v):
        return all(any((x, y) in pairs for y in seen[a, v]) for a in model.relations for x in seen[a, w])

    while wrong := {(w, v) for w, v in pairs if not (answered(w, v) and answered(v, w))}:
        pairs -= wrong
    return len({frozenset(v for v in reached if (w, v) in pairs) for w in reached})


@pytest.mark.parametrize("symbolic_from", [None, "listed", "diagrams"])
def test_contracted_models_have_one_world_for_each_class(symbolic_from, monkeypatch):
    if symbolic_from == "diagrams":
        monkeypatch.setattr(diagrams, "_LISTED_WORLDS", 0)  # the greatest bisimulation as a diagram itself
    engine = ExplicitEngine() if symbolic_from is None else SymbolicEngine()
    merged = 0
    for seed in range(150):
        rng = random.Random(seed)
        model = random_model(rng)
        if not isinstance(model, EpistemicModel):
            continue
        events = random_events(rng, model.agents)
        reference, point = naive.declared(model)
        assert engine.load(model).worlds == bisimilar_classes(reference, point), seed
        if not naive.true(reference, point, events.events[events.point].pre):
            continue
        if any(map(uses_distributed, events.formulas())):
            continue
        product = naive.product(reference, events)
        state = engine.update(engine.load(model), events)
        assert state.worlds == bisimilar_classes(product, (point, events.point)), seed
        merged += state.report.worlds < state.report.reachable_worlds
        formulas = [random_formula(rng, model.agents, [], 3) for _ in range(4)]
        for formula in formulas:
            if not uses_distributed(formula):
                assert engine.holds(state, formula) == naive.true(product, (point, events.point), formula), seed
    assert merged >= 5  # or contraction would not have been tried


def test_clusters_that_become_one_are_one_in_models_of_any_size(monkeypatch):
    # o and q lead a to two copies of one world; the way for many worlds looks up one cluster for each world.
    text = """model
  agents a, b
  atoms p, r
  world o: p
  world q: p, r
  world u:
  world v:
  relation a: o, u -> u; q, v -> v
  relation b: {o, q, u, v}
  point o
end
claim B[a] !p
claim !B[a] p
claim B[b] B[a] !p
claim B[b] !B[a] p
"""
    for bits in (relation._MASK_BITS, 0):
        monkeypatch.setattr(relation, "_MASK_BITS", bits)
        script = parse_script(text)
        engine = ExplicitEngine()
        state = engine.load(script.model)
        assert state.worlds == 3
        assert all(engine.holds(state, claim.formula) for claim in script.steps)
        for seed in range(100):
            model = random_model(random.Random(seed))
            held = engine.load(model).structure
            if isinstance(model, EpistemicModel):
                for each in held.relations.values():
                    worlds = [world for cluster in each.clusters for world in cluster]
                    assert len(set(worlds)) == len(worlds), seed


TWO_COPIES = """
model
  agents a, b
  atoms p
  world w:
  world u: p
  world v: p
  relation a: w, u -> u; v -> v
  relation b: w, v -> v; u -> u
  point w
end
claim D[a, b] !p
"""


def test_distributed_knowledge_is_not_asked_of_merged_worlds():
    # a holds u possible and b holds v, two copies of one world: together they rule out both. Merged, neither.
    script = parse_script(TWO_COPIES)
    formula = script.steps[0].formula
    pruning = ExplicitEngine(reduction=Reduction.PRUNE)
    assert pruning.holds(pruning.load(script.model), formula)
    engine = ExplicitEngine()
    state = engine.load(script.model)
    assert (state.worlds, state.merged) == (2, True)
    with pytest.raises(FailedPrecondition, match="distributed knowledge"):
        engine.holds(state, formula)
    assert engine.holds(state, parse_formula("B[a] p & B[b] p"))


def test_a_script_that_asks_for_distributed_knowledge_runs_without_contraction():
    from assay_tom_verifier.core.epistemic.script import run_script

    for backend in (ExplicitEngine, SymbolicEngine):
        found = run_script(parse_script(TWO_COPIES), backend())
        assert [verdict.holds for verdict in found.verdicts] == [True]
        assert found.worlds == 3


def test_contract_says_what_it_merged():
    pruning = ExplicitEngine(reduction=Reduction.PRUNE)
    state = pruning.contract(pruning.load(parse_script(TWO_COPIES).model))
    assert (state.report.product_worlds, state.report.worlds) == (3, 2)
