"""The puzzles run from their texts, and come out as the literature has them."""

from __future__ import annotations

from collections import Counter

import pytest

from assay.errors import InvalidInput
from assay_tom_verifier.core.epistemic.engine import Reduction
from assay_tom_verifier.core.epistemic.explicit import ExplicitEngine
from assay_tom_verifier.core.epistemic.puzzles import PUZZLES, puzzle_text
from assay_tom_verifier.core.epistemic.puzzles.muddy_children import muddy_children
from assay_tom_verifier.core.epistemic.puzzles.sum_and_product import sum_and_product
from assay_tom_verifier.core.epistemic.script import run_script
from assay_tom_verifier.core.epistemic.symbolic import SymbolicEngine
from assay_tom_verifier.core.epistemic.syntax import parse_script

BACKENDS = [ExplicitEngine, SymbolicEngine]


def run(text, engine):
    return run_script(parse_script(text), engine)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("children", "muddy"), [(2, 1), (3, 3), (6, 2), (6, 5)])
def test_k_muddy_children_take_k_announcements(backend, children, muddy):
    found = run(muddy_children(children, muddy), backend())
    assert found.rounds == muddy
    assert all(verdict.holds for verdict in found.verdicts)
    # Before: every valuation. After: only children who know are left in the same world.
    assert found.worlds == 2**children


def test_sixty_muddy_children_by_diagrams():
    found = run(puzzle_text("muddy-children", 60), SymbolicEngine())
    assert found.rounds == 60
    assert found.worlds == 2**60
    assert [verdict.holds for verdict in found.verdicts] == [True]
    assert found.state.worlds == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("diners", [3, 6])
def test_cryptographers_learn_that_one_of_them_paid_and_not_who(backend, diners):
    found = run(puzzle_text("dining-cryptographers", diners), backend())
    assert [verdict.holds for verdict in found.verdicts] == [True, True]
    assert found.rounds == diners
    # At most one paid, any coins: (n + 1) * 2^n.
    assert found.worlds == (diners + 1) * 2**diners


def test_cryptographers_who_see_each_others_coins_learn_who_paid():
    # The control: with every coin in sight, what a diner says tells whether they paid.
    text = puzzle_text("dining-cryptographers", 3)
    seen = text.replace("observes diner2: paid2, coin2, coin3", "observes diner2: paid2, coin1, coin2, coin3")
    assert seen != text
    assert [verdict.holds for verdict in run(seen, ExplicitEngine()).verdicts] == [True, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_russian_cards_are_told_in_safety(backend):
    found = run(puzzle_text("russian-cards"), backend())
    assert [verdict.holds for verdict in found.verdicts] == [True, True, True]
    assert found.worlds == 140  # 7! / (3! 3! 1!)


def test_russian_cards_told_as_one_of_two_hands_are_not_safe():
    # "I hold 012 or 034": Cath, holding 6, learns that Anne holds 0.
    text = puzzle_text("russian-cards")
    first, last = "announce (anne0 & anne1 & anne2)", "(anne2 & anne4 & anne6)"
    start, end = text.index(first), text.index(last) + len(last)
    told = f"{text[:start]}{first} | (anne0 & anne3 & anne4){text[end:]}"
    assert not run(told, ExplicitEngine()).verdicts[0].holds


def sums_and_products(highest):
    """Pairs left after each of the three sentences, by arithmetic."""
    pairs = [(x, y) for x in range(2, highest) for y in range(x + 1, highest - x + 1)]
    stages = [pairs]

    def alone(value, among):
        counts = Counter(value(*pair) for pair in among)
        return {pair for pair in among if counts[value(*pair)] == 1}

    known = alone(int.__mul__, pairs)
    bad_sums = {x + y for x, y in known}
    stages.append([(x, y) for x, y in pairs if x + y not in bad_sums])
    stages.append([pair for pair in stages[-1] if pair in alone(int.__mul__, stages[-1])])
    stages.append([pair for pair in stages[-1] if pair in alone(int.__add__, stages[-1])])
    return [len(stage) for stage in stages], stages[-1]


@pytest.mark.parametrize(("backend", "highest"), [(ExplicitEngine, 100), (SymbolicEngine, 65)])
def test_only_4_and_13_make_the_talk_of_sum_and_product_possible(backend, highest):
    # Nothing pruned: of all pairs one is left, not only of those that the two consider.
    counts, left = sums_and_products(highest)
    assert left == [(4, 13)]
    script = parse_script(sum_and_product(highest))
    engine = backend(reduction=Reduction.NONE)
    state = engine.load(script.model)
    found = [state.worlds]
    for step in script.steps[:3]:
        state = engine.announce(state, step.formula)
        found.append(state.worlds)
    assert found == counts
    assert all(engine.holds(state, step.formula) for step in script.steps[3:])


@pytest.mark.parametrize("name", PUZZLES)
def test_sizes_out_of_range_are_refused_by_name(name):
    with pytest.raises(InvalidInput, match=r"example\.n: is 101"):
        puzzle_text(name, 101)


def test_an_unknown_puzzle_is_refused():
    with pytest.raises(InvalidInput, match="muddy-children"):
        puzzle_text("muddy-pigs")
