"""Frames: checked where declared, kept where an update keeps them, reported where it does not."""

from __future__ import annotations

import random

import pytest
from unit.tom_verifier.epistemic.cases import random_events, random_model

from assay.errors import FailedPrecondition, InvalidInput
from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.formulas import FALSE, Atom, Believes, uses_distributed
from assay_tom_verifier.core.epistemic.frames import check_relations
from assay_tom_verifier.core.epistemic.models import EpistemicModel, Event, EventModel, Frame
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine

BACKENDS = [ExplicitEngine, SymbolicEngine]


def model(relation, frame=Frame.KD45, point="u"):
    return EpistemicModel(("a",), ("p",), {"u": ["p"], "v": []}, {"a": relation}, point, frame)


@pytest.mark.parametrize(
    ("relation", "frame", "fault"),
    [
        ({"u": ["u"]}, Frame.KD45, "not serial: nothing is possible at v"),
        ({"u": ["v"], "v": ["u"]}, Frame.KD45, "not transitive and Euclidean"),
        ({"u": ["u", "v"], "v": ["v"]}, Frame.KD45, "not transitive and Euclidean"),
        ({"u": ["v"], "v": ["v"]}, Frame.S5, "not reflexive at u"),
        ({"u": ["x"], "v": ["v"]}, Frame.KD45, "names point x"),
    ],
)
def test_relations_that_break_their_frame_are_refused(relation, frame, fault):
    for backend in BACKENDS:
        with pytest.raises(InvalidInput, match=fault):
            backend().load(model(relation, frame))


def test_belief_may_be_wrong_and_knowledge_may_not():
    engine = ExplicitEngine()
    state = engine.load(model({"u": ["v"], "v": ["v"]}))
    assert not engine.holds(state, Believes("a", Atom("p")))
    assert engine.holds(state, Atom("p"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_event_that_cannot_happen_leaves_the_state_as_it_was(backend):
    engine = backend()
    state = engine.load(model({"u": ["u", "v"], "v": ["u", "v"]}))
    never = EventModel("never", {"e": Event(FALSE)}, {"a": {"e": ["e"]}}, "e")
    with pytest.raises(FailedPrecondition, match="e cannot happen at the actual world"):
        engine.update(state, never)
    with pytest.raises(FailedPrecondition, match="false at the actual world"):
        engine.announce(state, Believes("a", Atom("p")))
    assert state.worlds == 2
    assert engine.holds(state, Atom("p"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lie_found_out_leaves_no_world_possible_and_is_reported(backend):
    # a is sure of not p; p is announced. KD45 is not closed under that: a then believes everything.
    engine = backend()
    state = engine.announce(engine.load(model({"u": ["v"], "v": ["v"]})), Atom("p"))
    assert state.report.not_serial == ("a",)
    assert engine.holds(state, Believes("a", FALSE))
    assert engine.considered(state, ["a"], ["p"]) == frozenset()


@pytest.mark.parametrize("backend", BACKENDS)
def test_s5_is_closed_under_s5_events_and_kd45_under_events_that_every_world_answers(backend):
    updates = 0
    for seed in range(150):
        rng = random.Random(seed)
        declared, events = random_model(rng), None
        events = random_events(rng, declared.agents)
        frame = getattr(declared, "frame", Frame.S5)
        engine = backend(reduction=Reduction.NONE)
        try:
            state = engine.update(engine.load(declared), events)
        except FailedPrecondition:
            continue
        updates += 1
        exported = engine.export(state)
        closed = frame is Frame.S5 and events.frame is Frame.S5
        if closed:
            assert state.report.not_serial == ()
            check_relations(exported.relations, exported.agents, exported.worlds, Frame.S5, "relation")
        elif not state.report.not_serial:
            check_relations(exported.relations, exported.agents, exported.worlds, Frame.KD45, "relation")
        else:
            with pytest.raises(InvalidInput, match="not serial"):
                check_relations(exported.relations, exported.agents, exported.worlds, Frame.KD45, "relation")
        if seed >= 60 and updates >= 30:
            break
    assert updates >= 30


def test_considered_agrees_with_belief():
    for backend in BACKENDS:
        checked = 0
        for seed in range(40):
            rng = random.Random(seed)
            declared = random_model(rng)
            events = random_events(rng, declared.agents)
            if any(map(uses_distributed, events.formulas())):
                continue
            engine = backend()
            try:
                state = engine.update(engine.load(declared), events)
            except FailedPrecondition:
                continue
            for first in declared.agents:
                for second in declared.agents:
                    possible = engine.considered(state, [first, second], ["p"])
                    believed = Believes(first, Believes(second, Atom("p")))
                    assert engine.holds(state, believed) == all(possible), (seed, first, second)
                    checked += 1
        assert checked > 30
