"""Both backends against the definitions, on random models, events and formulas."""

from __future__ import annotations

import random

import pytest
from unit.tom_verifier.epistemic import naive
from unit.tom_verifier.epistemic.cases import random_events, random_formula, random_model

from assay.errors import FailedPrecondition
from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine, relation
from assay_tom_verifier.core.epistemic.formulas import uses_distributed
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine

CASES, CHUNKS = 2000, 8


def new_engines():
    kinds = (ExplicitEngine, SymbolicEngine)
    return [kind(reduction=reduction) for kind in kinds for reduction in (Reduction.CONTRACT, Reduction.NONE)]


def verdicts_of(engine, model, events, before, after):
    state = engine.load(model)
    found = [engine.holds(state, formula) for formula in before]
    try:
        state = engine.update(state, events)
    except FailedPrecondition:
        return [*found, None]
    return found + [engine.holds(state, formula) for formula in after]


def forgets_distributed(engine, events, formulas):
    formulas = [*formulas, *events.formulas()]
    return engine.reduction is Reduction.CONTRACT and any(map(uses_distributed, formulas))


def expected_verdicts(model, events, before, after):
    world_model, point = naive.declared(model)
    found = [naive.true(world_model, point, formula) for formula in before]
    if not naive.true(world_model, point, events.events[events.point].pre):
        return [*found, None]
    updated = naive.product(world_model, events)
    return found + [naive.true(updated, (point, events.point), formula) for formula in after]


def test_relations_too_large_for_masks_have_the_same_verdicts(monkeypatch):
    # Above a size boxes are computed by one pass over arrays; here, of every size.
    monkeypatch.setattr(relation, "_MASK_BITS", 0)
    engine = ExplicitEngine()
    for seed in range(0, CASES, 10):
        rng = random.Random(seed)
        model = random_model(rng)
        formulas = [random_formula(rng, model.agents, [random_events(rng, model.agents)], 3) for _ in range(3)]
        world_model, point = naive.declared(model)
        state = engine.reducing(Reduction.PRUNE).load(model)
        for formula in formulas:
            assert engine.holds(state, formula) == naive.true(world_model, point, formula), seed


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_2000_random_cases_have_the_verdicts_of_the_definitions(chunk):
    applied = truths = asked = 0
    for place, seed in enumerate(range(chunk, CASES, CHUNKS)):
        if place % 25 == 0:  # a manager's tables grow with all that it ever held
            engines = new_engines()
        rng = random.Random(seed)
        model = random_model(rng)
        within = [random_events(rng, model.agents, "y")]
        events = random_events(rng, model.agents, "x", within)
        before = [random_formula(rng, model.agents, [*within, events], 3) for _ in range(2)]
        after = [random_formula(rng, model.agents, within, 3) for _ in range(2)]
        expected = expected_verdicts(model, events, before, after)
        for engine in engines:
            if forgets_distributed(engine, events, before + after):
                engine = engine.reducing(Reduction.PRUNE)  # as scripts do
            assert verdicts_of(engine, model, events, before, after) == expected, (seed, engine, engine.reduction)
        applied += None not in expected
        truths += sum(map(bool, expected))
        asked += len(expected)
    # A generator whose events never happen, or whose formulas are all true, would test nothing.
    assert applied > 0.3 * CASES / CHUNKS
    assert 0.2 < truths / asked < 0.8
