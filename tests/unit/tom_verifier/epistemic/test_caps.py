"""What is too much is refused before it is built, and what is cancelled stops."""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc

import pytest

from assay.cancel import CancelToken
from assay.errors import Cancelled, DeadlineExceeded, ResourceExhausted, Unimplemented
from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.formulas import TRUE, And, Atom, Common, Iff, Knows, Not, Or
from assay_tom_verifier.core.epistemic.models import EpistemicModel, Event, EventModel, KnowledgeStructure
from assay_tom_verifier.core.epistemic.structure import Limits
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine


def cube(atoms: int, law=TRUE):
    names = tuple(f"p{i}" for i in range(atoms))
    return KnowledgeStructure(("a", "b"), names, law, {"a": names[::2], "b": names[1::2]}, names)


def events(count: int):
    names = [f"e{i}" for i in range(count)]
    return EventModel("many", {e: Event() for e in names}, {x: dict.fromkeys(names, names) for x in "ab"}, "e0")


def test_a_product_over_the_cap_is_refused_before_it_is_allocated():
    engine = ExplicitEngine(reduction=Reduction.NONE)
    state = engine.load(cube(16))
    tracemalloc.start()
    with pytest.raises(ResourceExhausted, match=r"65,536 worlds times 16 events are 1,048,576"):
        engine.update(state, events(16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # the pairs alone would take 50 MiB


def test_worlds_over_the_cap_are_refused_when_loaded():
    with pytest.raises(ResourceExhausted, match=r"2\^21 valuations"):
        ExplicitEngine().load(cube(21))
    worlds = {f"w{i}": () for i in range(11)}
    listed = EpistemicModel(("a",), (), worlds, {"a": {w: [w] for w in worlds}}, "w0")
    with pytest.raises(ResourceExhausted, match=r"worlds: are 11, over the cap of 10"):
        ExplicitEngine(limits=Limits(worlds=10)).load(listed)


def test_diagrams_take_what_lists_refuse():
    engine = SymbolicEngine()
    state = engine.load(cube(64))
    assert state.worlds == 2**64
    assert engine.holds(state, Knows("a", Atom("p0")))
    assert not engine.holds(state, Knows("a", Atom("p1")))


def test_nodes_over_the_cap_are_refused():
    # p_i <-> p_{i+12}, far apart in the order: over 2^12 nodes, where side by side it would take 36.
    law = And(tuple(Iff(Atom(f"p{i}"), Atom(f"p{i + 12}")) for i in range(12)))
    assert SymbolicEngine().load(cube(24, law)).worlds == 2**12
    with pytest.raises(ResourceExhausted, match="over the cap of 1,000"):
        SymbolicEngine(limits=Limits(nodes=1000)).load(cube(24, law))


@pytest.mark.parametrize("backend", [ExplicitEngine, SymbolicEngine])
def test_formulas_of_64_levels_are_answered_and_of_65_refused(backend):
    engine = backend()
    state = engine.load(cube(2))
    formula = Atom("p0")
    for _ in range(63):
        formula = Not(formula)
    assert not engine.holds(state, formula)
    with pytest.raises(ResourceExhausted, match="more than 64 levels"):
        engine.holds(state, Not(formula))
    with pytest.raises(ResourceExhausted, match="more than 64 levels"):
        engine.announce(state, Not(formula))


def test_formulas_that_share_their_parts_take_no_longer_than_their_parts():
    # 2^60 leaves were it written out.
    formula = Atom("p0")
    for _ in range(60):
        formula = Or((formula, formula))
    for backend in (ExplicitEngine, SymbolicEngine):
        engine = backend()
        assert engine.holds(engine.load(cube(2)), formula)


def ring(worlds: int):
    """Common knowledge walks it world by world: a holds 2i and 2i+1 alike, b 2i+1 and 2i+2."""
    names = [f"w{i}" for i in range(worlds)]
    one = {w: names[i // 2 * 2 : i // 2 * 2 + 2] for i, w in enumerate(names)}
    other = {w: names[max(0, (i + 1) // 2 * 2 - 1) : (i + 1) // 2 * 2 + 1] for i, w in enumerate(names)}
    facts = {w: ["p"] if i < worlds - 1 else [] for i, w in enumerate(names)}
    return EpistemicModel(("a", "b"), ("p",), facts, {"a": one, "b": other}, "w0")


def ask_for_ever(engine, state):
    while True:  # new formulas, so that none is remembered
        engine.holds(state, Common(("a", "b"), Atom("p")))


@pytest.mark.parametrize("backend", [ExplicitEngine, SymbolicEngine])
def test_a_cancelled_call_stops_within_200_ms(backend):
    cancel = CancelToken()
    engine = backend(cancel=cancel, reduction=Reduction.NONE)
    state = engine.load(ring(4000))
    clock = time.pthread_getcpuclockid(threading.get_ident())  # of the work alone, whatever else the machine does
    asked_at = []

    def stop():
        asked_at.append(time.clock_gettime(clock))
        cancel.cancel()

    threading.Timer(0.2, stop).start()
    with pytest.raises(Cancelled):
        ask_for_ever(engine, state)
    assert time.clock_gettime(clock) - asked_at[0] < 0.2


def test_a_deadline_that_has_passed_stops_at_once():
    engine = ExplicitEngine(cancel=CancelToken(time.time() - 1))
    with pytest.raises(DeadlineExceeded):
        engine.load(cube(4))


def test_without_dd_the_symbolic_backend_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dd", None)
    monkeypatch.delitem(sys.modules, "assay_tom_verifier.core.epistemic.symbolic.manager", raising=False)
    with pytest.raises(Unimplemented, match=r"install assay-tom-verifier\[symbolic\]"):
        SymbolicEngine()
