"""The nulls hold what has no structure between sequences, and do not hold what has."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import InvalidInput
from assay_moe_router.core.null import batch_points
from assay_moe_router.core.statistics import LayerRouting

ODDS = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02])


def layer_of(choices: np.ndarray, experts: int) -> LayerRouting:
    return LayerRouting.from_choices(
        0, experts, choices.astype(np.int32),
        weight_sums=np.zeros(experts), dropped=np.zeros(experts, dtype=np.int64), masked_tokens=0,
    )  # fmt: skip


def test_independent_top_1_routing_lies_inside_both_nulls() -> None:
    # The shuffle's 95 % range misses an honest routing about once in 18 (35 of 600 further seeds); more than 7 misses
    # in 40 has odds of 1 in 500. The multinomial misses none: its odds are the sample's own, so it is drawn around what
    # it is compared with. Seeds are fixed: it holds for good or never.
    outside = {"multinomial": 0, "shuffled": 0}
    for seed in range(40):
        choices = np.random.default_rng(seed).choice(8, size=(24, 20, 1), p=ODDS)
        (point,) = batch_points(layer_of(choices, 8), [2], draws=100, seed=seed)
        outside["multinomial"] += not point.multinomial_low <= point.observed <= point.multinomial_high
        outside["shuffled"] += not point.shuffled_low <= point.observed <= point.shuffled_high
    assert max(outside.values()) <= 7, outside


def test_topics_of_sequences_lie_outside_both_nulls() -> None:
    # Half of a sequence's tokens go to its topic's expert; over all sequences the experts are even.
    random = np.random.default_rng(0)
    topics = np.arange(64) % 8
    choices = np.where(random.random((64, 32)) < 0.5, topics[:, None], random.integers(0, 8, (64, 32)))
    points = batch_points(layer_of(choices[..., None], 8), [1, 4, 64], draws=100)
    single, four, everything = points
    # Topic's share 1/2 + 1/16 of 8 experts: 4.5; independent draws of 32 tokens give about 2.
    assert single.observed == pytest.approx(4.5, abs=0.2)
    assert single.multinomial_high < 2.3
    assert single.shuffled_high < 2.3
    assert four.observed > max(four.multinomial_high, four.shuffled_high)
    # One batch of everything holds the same tokens however they are dealt.
    assert everything.observed == everything.shuffled_low == everything.shuffled_high


def test_multinomial_overstates_the_noise_of_distinct_choices_and_the_shuffle_does_not() -> None:
    # Two distinct choices of 4: an expert's count varies as n * 1/2 * 1/2, two draws with replacement as
    # 2n * 1/4 * 3/4. What chance adds to 1 shrinks by sqrt(0.25 / 0.375) = 0.816.
    random = np.random.default_rng(3)
    choices = np.argsort(random.random((1000, 64, 4)), axis=2)[..., :2]
    (point,) = batch_points(layer_of(choices, 4), [1], draws=40)
    assert (point.observed - 1) / (point.multinomial - 1) == pytest.approx(0.816, abs=0.05)  # 3 standard errors
    assert point.observed < point.multinomial_low
    assert point.shuffled_low <= point.observed <= point.shuffled_high


def test_choices_held_elsewhere_stay_with_their_token() -> None:
    random = np.random.default_rng(5)
    choices = np.argsort(random.random((16, 10, 6)), axis=2)[..., :2]
    choices[choices >= 4] = -1  # experts 4 and 5 are another device's
    layer = layer_of(choices, 4)
    (point,) = batch_points(layer, [16], draws=20)
    # Dealing only tokens whose choices all are ours would lose some load: 4 * max / sum would change.
    assert point.shuffled_low == point.observed == point.shuffled_high


def test_batch_sizes_that_do_not_fit_are_left_out_and_seeds_repeat() -> None:
    layer = layer_of(np.random.default_rng(1).integers(0, 4, (6, 5, 1)), 4)
    points = batch_points(layer, [1, 4, 7], draws=10, seed=2)
    assert [(point.batch_sequences, point.batches) for point in points] == [(1, 6), (4, 1)]
    assert points == batch_points(layer, [1, 4, 7], draws=10, seed=2)
    assert points != batch_points(layer, [1, 4, 7], draws=10, seed=3)


def test_an_idle_layer_is_refused() -> None:
    with pytest.raises(InvalidInput, match="are all 0"):
        batch_points(layer_of(np.full((3, 4, 1), -1), 4))
