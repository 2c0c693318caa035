"""Texts read as they were meant, print as they read, and say where they are wrong."""

from __future__ import annotations

import random

import pytest
from unit.tom_verifier.epistemic.cases import ATOMS, random_events, random_formula, random_model

from assay.errors import InvalidInput, ResourceExhausted
from assay_tom_verifier.core.epistemic import formulas as f
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.models import Frame
from assay_tom_verifier.core.epistemic.puzzles import PUZZLES, puzzle_text
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.epistemic.syntax import (
    parse_events,
    parse_formula,
    parse_model,
    parse_script,
    print_events,
    print_formula,
    print_model,
    print_script,
)

MODEL = """# Anne has looked into the box; Bill has not.
model
  frame S5
  agents anne, bill
  atoms full, red
  world w0: full
  world w1:
  relation anne: {w0} {w1}
  relation bill: w0, w1 -> w0, w1
  point w0
end
"""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("p & q | r -> p <-> q", f.Iff(f.Implies(f.Or((f.And((f.Atom("p"), f.Atom("q"))), f.Atom("r"))), f.Atom("p")),
                                       f.Atom("q"))),
        ("p -> q -> r", f.Implies(f.Atom("p"), f.Implies(f.Atom("q"), f.Atom("r")))),
        ("p & q & r", f.And((f.Atom("p"), f.Atom("q"), f.Atom("r")))),
        ("(p & q) & r", f.And((f.And((f.Atom("p"), f.Atom("q"))), f.Atom("r")))),
        ("!K[a] p & q", f.And((f.Not(f.Knows("a", f.Atom("p"))), f.Atom("q")))),
        ("K & B[a] K", f.And((f.Atom("K"), f.Believes("a", f.Atom("K"))))),
        ("[!p | q] C[a, b] Kw[a] true", f.Announced(f.Or((f.Atom("p"), f.Atom("q"))),
                                                    f.Common(("a", "b"), f.KnowsWhether("a", f.TRUE)))),
    ],
)  # fmt: skip
def test_signs_bind_as_said(text, meant):
    assert parse_formula(text) == meant


def test_1000_formulas_print_and_read_back():
    for seed in range(1000):
        formula = random_formula(random.Random(seed), ("a", "b"), [], 5)
        assert parse_formula(print_formula(formula)) == formula, seed


def test_models_and_events_print_and_read_back():
    for seed in range(200):
        rng = random.Random(seed)
        model = random_model(rng)
        text = print_model(model)
        assert print_model(parse_model(text)) == text, seed
        assert parse_model(text).agents == model.agents
        events = random_events(rng, model.agents)
        again = parse_events(print_events(events), model.agents, ATOMS)
        assert again == events, seed


def test_models_after_an_update_print_and_read_back_of_their_frame():
    met = set()
    for seed in range(200):
        rng = random.Random(seed)
        model = random_model(rng)
        engine = ExplicitEngine()
        state, events = engine.load(model), random_events(rng, model.agents)
        if any(map(f.uses_distributed, events.formulas())) or not engine.holds(state, events.events[events.point].pre):
            continue
        made = engine.export(engine.update(state, events))
        again = parse_model(print_model(made))
        assert (again, engine.export(engine.load(again)).frame) == (made, made.frame), seed
        symbolic = SymbolicEngine()
        states = [(engine, engine.load(made)), (engine, engine.load(again)), (symbolic, symbolic.load(again))]
        for agent in model.agents:
            blind = f.Believes(agent, f.FALSE)
            assert len({each.holds(loaded, f.Common(model.agents, blind)) for each, loaded in states}) == 1, seed
            assert len({each.holds(loaded, blind) for each, loaded in states}) == 1, seed
        met.add(made.frame)
    assert met == set(Frame)


def test_a_relation_of_no_arrows_is_none_and_one_of_no_classes_is_the_identity():
    text = MODEL.replace("S5", "K45").replace("relation anne: {w0} {w1}", "relation anne: none")
    assert parse_model(text).relations["anne"] == {}
    assert "relation anne: none\n" in print_model(parse_model(text))
    assert ExplicitEngine().holds(ExplicitEngine().load(parse_model(text)), parse_formula("B[anne] false"))
    identity = parse_model(MODEL.replace("{w0} {w1}", ""))
    assert identity.relations["anne"] == {"w0": ("w0",), "w1": ("w1",)}
    named = parse_model(text.replace("w0", "none").replace("anne: none", "anne: none -> none"))
    assert named.relations["anne"] == {"none": ("none",)}
    with pytest.raises(InvalidInput, match="not serial"):
        parse_model(text.replace("K45", "KD45"))
    with pytest.raises(InvalidInput, match="declare KD45 or S5"):
        parse_script(MODEL + "events e\n  frame K45\n  event e:\n  relation anne, bill: none\n  point e\nend\n")


@pytest.mark.parametrize("name", PUZZLES)
def test_scripts_print_and_read_back(name):
    script = parse_script(puzzle_text(name, 20 if name == "sum-and-product" else 0))
    text = print_script(script)
    assert print_script(parse_script(text)) == text


def test_a_script_with_windows_line_ends_and_names_of_any_alphabet():
    text = MODEL.replace("anne", "Zoë").replace("full", "満").replace("\n", "\r\n")
    script = parse_script(text + "claim K[Zoë]\r\n  満\r\n")
    assert script.steps[0].formula == f.Knows("Zoë", f.Atom("満"))
    assert (script.steps[0].text, script.steps[0].line) == ("K[Zoë] 満", 12)
    assert script.model.frame is Frame.S5


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("", "line 1, column 1", "there is no model"),
        ("claim p", "line 1, column 1", "speaks of a model that is not there yet"),
        (MODEL + "claim ful", "line 12, column 7", "ful is no atom that is declared"),
        (MODEL + "claim K[cath] full", "line 12, column 9", "cath is no agent"),
        (MODEL + "claim full &", "line 12, column 13", "expected a formula, found the end of the line"),
        (MODEL + "claim full red", "line 12, column 12", "expected the line to end, found 'red'"),
        (MODEL + "claim (full\n| red", "line 13, column 6", "expected ')'"),
        (MODEL + "claim full $ red", "line 12, column 12", "'$' begins no word or sign"),
        (MODEL + "claim [told] full", "line 12, column 8", "told is no event model"),
        (MODEL + "update told", "line 12, column 8", "told is no event model"),
        (MODEL + "define full: red", "line 12, column 8", "full means something already"),
        (MODEL + "assert full", "line 12, column 1", "expected one of model"),
        (MODEL + MODEL, "line 13, column 1", "there is a model already"),
        (MODEL.replace("{w0} {w1}", "w0 -> w0"), "line 2", "not serial: nothing is possible at w1"),
        (MODEL.replace("  point w0\n", ""), "line 2, column 1", "has no point"),
        (MODEL.replace("world w1", "world w0"), "line 7, column 9", "w0 is there already"),
        (MODEL.replace("{w0} {w1}", "{w0, w2}"), "line 8, column 23", "w2 is no world"),
        (MODEL.replace("frame S5", "frame S6"), "line 3, column 9", "S6 is no frame"),
        (MODEL.replace("\nend", ""), "line 11, column 1", "expected 'end'"),
    ],
)
def test_faults_are_named_with_line_and_column(text, place, fault):
    with pytest.raises(InvalidInput) as raised:
        parse_script(text)
    assert str(raised.value).startswith(f"text: {place}: ")
    assert fault in str(raised.value)


@pytest.mark.parametrize("opening", ["(", "!", "K[anne] ", "[!full] ", "[!"])
def test_nesting_without_end_is_refused_and_not_recursed_into(opening):
    with pytest.raises(ResourceExhausted, match=r"line 12, column \d+: nested more than 64 deep"):
        parse_script(MODEL + "claim " + opening * 20_000)


def test_64_levels_of_brackets_are_read():
    assert parse_formula("(" * 63 + "p" + ")" * 63) == f.Atom("p")


def test_long_chains_are_refused_by_their_depth():
    with pytest.raises(ResourceExhausted, match="more than 64 levels deep"):
        parse_formula(" -> ".join(["p"] * 10_000))
    assert len(parse_formula(" & ".join(["p"] * 10_000)).parts) == 10_000


def test_definitions_that_double_are_not_written_out():
    lines = ["define d0: full & red", *(f"define d{i}: d{i - 1} & d{i - 1}" for i in range(1, 50)), "claim d49"]
    script = parse_script(MODEL + "\n".join(lines))
    with pytest.raises(ResourceExhausted, match="words as text"):
        print_script(script)
