"""LIS, its batch curve, the Lorenz curve and the Gini index against figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import InvalidInput
from assay_moe_router.core.load_imbalance import batch_curve, load_imbalance
from assay_moe_router.core.lorenz import gini, lorenz_curve

counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any)


def test_the_busiest_of_four_experts_carries_twice_its_share() -> None:
    # 16 tokens, fair share 4; the busiest has 8.
    assert load_imbalance([8, 6, 1, 1], experts=4) == 2.0


def test_replicas_count_as_slots_and_the_fair_share_is_chosen_by_the_caller() -> None:
    # The 8 split as 4 + 4, so 6 leads: 6 / (16 / 4) = 1.5 in logical experts, 6 / (16 / 5) = 1.875 in slots.
    slots = [4, 6, 1, 1, 4]
    assert load_imbalance(slots, experts=4) == 1.5
    assert load_imbalance(slots, experts=5) == 1.875
    # Enough replicas bring the logical score below 1: the fair share of an expert is more than that of a slot.
    assert load_imbalance([2, 2, 2, 2], experts=2) == 0.5


@given(counts, st.randoms(use_true_random=False))
def test_lis_is_m_times_max_over_sum_in_any_order(loads: list[int], random: object) -> None:
    exact = Fraction(len(loads) * max(loads), sum(loads))
    assert load_imbalance(loads, len(loads)) == pytest.approx(float(exact), rel=1e-14)
    random.shuffle(loads)  # type: ignore[attr-defined]
    assert load_imbalance(loads, len(loads)) == pytest.approx(float(exact), rel=1e-14)
    assert 1 - 1e-12 <= exact <= len(loads)


@given(st.integers(2, 8), st.integers(1, 60), st.data())
def test_top_k_bounds_lis_by_m_over_k(experts: int, tokens: int, data: st.DataObject) -> None:
    # A token's k choices differ, so no expert gets more than one choice in k.
    k = data.draw(st.integers(1, experts))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    choices = np.argsort(random.random((tokens, experts)) ** 4, axis=1)[:, :k]
    loads = np.bincount(choices.ravel(), minlength=experts)
    assert load_imbalance(loads, experts) <= experts / k + 1e-12


@pytest.mark.parametrize(
    ("loads", "experts", "field"),
    [
        ([1.0, float("nan")], 2, "slot_tokens[1]"),
        ([float("inf"), 1.0], 2, "slot_tokens[0]"),
        ([1, 2, -3], 3, "slot_tokens[2]"),
        ([0, 0], 2, "slot_tokens"),
        ([5], 2, "slot_tokens"),
        ([], 0, "slot_tokens"),
    ],
)
def test_bad_loads_are_named_by_index(loads: list[float], experts: int, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_imbalance(loads, experts)
    assert caught.value.violations[0].field == field


def test_batch_curve_adds_up_consecutive_sequences_and_drops_the_rest() -> None:
    sequences = np.array([[2, 0], [0, 2], [1, 1], [4, 0]])
    curve = batch_curve(sequences, [1, 2, 3, 5])
    assert curve[1].tolist() == [2, 2, 1, 2]
    assert curve[2].tolist() == pytest.approx([2 * 2 / 4, 2 * 5 / 6])
    assert curve[3].tolist() == [1.0]  # 3 and 3; the fourth sequence fills no batch of three
    assert set(curve) == {1, 2, 3}


def test_a_batch_without_tokens_has_no_score() -> None:
    curve = batch_curve(np.array([[0, 0], [3, 1], [0, 0]]), [1, 3])
    assert curve[1].tolist() == [1.5]  # not NaN for the two empty ones
    assert curve[3].tolist() == [1.5]
    assert batch_curve(np.zeros((4, 2), dtype=np.int64), [1]) == {}


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4]))
@settings(max_examples=50)
def test_batches_of_equal_size_are_together_at_least_as_unbalanced_as_their_sum(seed: int, size: int) -> None:
    # max(a + b) <= max(a) + max(b): the mean LIS of batches falls with their size even where nothing has structure.
    sequences = np.random.default_rng(seed).multinomial(20, [0.4, 0.3, 0.2, 0.1], size=8)
    whole = load_imbalance(sequences.sum(axis=0), 4)
    assert batch_curve(sequences, [size])[size].mean() >= whole - 1e-12


def test_lorenz_curve_and_gini_by_hand() -> None:
    # Sorted 1 1 2 4 of 8. Trapezoids of width 1/4 under 0, 1/8, 2/8, 4/8, 1: 11/32; Gini 1 - 22/32 = 10/32.
    experts, tokens = lorenz_curve(np.array([2, 1, 4, 1]))
    assert experts.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tokens.tolist() == [0, 0.125, 0.25, 0.5, 1]
    assert gini(np.array([2, 1, 4, 1])) == 0.3125


@given(counts)
def test_gini_is_half_the_relative_mean_difference(loads: list[int]) -> None:
    m = len(loads)
    differences = sum(abs(a - b) for a, b in product(loads, loads))
    assert gini(np.array(loads)) == pytest.approx(differences / (2 * m * sum(loads)), abs=1e-9)


@given(counts)
def test_lorenz_curve_is_convex_below_the_diagonal(loads: list[int]) -> None:
    experts, tokens = lorenz_curve(np.array(loads))
    assert (tokens <= experts + 1e-12).all()
    assert (np.diff(tokens, 2) >= -1e-12).all()
    assert (tokens[0], tokens[-1]) == (0, pytest.approx(1))


def test_gini_of_the_extremes() -> None:
    assert gini(np.full(8, 3)) == pytest.approx(0, abs=1e-15)
    assert gini(np.array([0, 0, 9, 0])) == 0.75  # 1 - 1/m


def test_lorenz_names_the_index_the_caller_gave() -> None:
    with pytest.raises(InvalidInput) as caught:
        lorenz_curve(np.array([5.0, 1.0, float("nan"), 2.0]))
    assert caught.value.violations[0].field == "loads[2]"  # sorted first, it would be loads[3]
    with pytest.raises(InvalidInput, match="all 0"):
        lorenz_curve(np.zeros(3))
