"""How scores settle with calibration size, on scores whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from assay_moe_router.core.stability import rank_agreement, stability

TRUE = np.arange(8.0)


def noisy(noise: float, sequences: int = 128, seed: int = 0) -> np.ndarray:
    return TRUE[:, None] + np.random.default_rng(seed).normal(0, noise, (8, sequences))


def test_without_noise_one_sequence_says_it_all() -> None:
    for point in stability(noisy(0), first="least"):
        assert (point.spearman, point.low, point.high, point.same_first) == (pytest.approx(1), 1, 1, 1)


def test_pure_noise_agrees_on_nothing_at_any_size() -> None:
    # 300 texts, one draw each. A sample and the sequences outside of it are independent, so Spearman is 0, give or take
    # 1 / sqrt(7) / sqrt(300) = 0.022, and both name the same of 8 experts once in 8, give or take 0.019. A sample
    # compared with all sequences would agree with itself: 0.7 at half of them.
    points = [
        stability(np.random.default_rng(seed).normal(size=(8, 64)), first="least", sizes=[1, 8, 32], draws=1, seed=seed)
        for seed in range(300)
    ]
    for size in range(3):
        assert np.mean([each[size].spearman for each in points]) == pytest.approx(0, abs=0.09)  # 4 standard errors
        assert np.mean([each[size].same_first for each in points]) == pytest.approx(0.125, abs=0.076)


def test_agreement_grows_with_sequences() -> None:
    points = stability(noisy(4.0), first="least", draws=200)
    means = [point.spearman for point in points]
    assert means == sorted(means)
    assert means[0] < 0.6 < 0.9 < means[-1]
    assert all(point.low <= point.spearman <= point.high for point in points)


def test_half_of_the_sequences_is_the_largest_sample() -> None:
    assert [point.sequences for point in stability(noisy(1, sequences=9), first="most")] == [1, 2, 4]
    assert stability(noisy(1, sequences=1), first="most") == ()


def test_which_end_must_agree_is_chosen() -> None:
    # The least is far below the rest and the most is one of two that noise swaps.
    scores = np.array([-50.0, 0, 1, 2, 3, 10, 10])[:, None] + np.random.default_rng(0).normal(0, 1, (7, 40))
    (least,), (most,) = (stability(scores, first=first, sizes=[4]) for first in ("least", "most"))
    assert least.same_first == 1.0
    assert 0.1 < most.same_first < 0.9


def test_rank_agreement_is_spearmans_and_a_constant_ranks_nothing() -> None:
    one, other = np.array([3.0, 1.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0, 9.0])
    # Ranks 3 1 2 4 and 1 2 3 4: squared differences 4 + 1 + 1 + 0 = 6; 1 - 6 * 6 / (4 * 15) = 0.4.
    assert rank_agreement(one, other) == pytest.approx(0.4)
    assert rank_agreement(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert rank_agreement(one, np.full(4, 2.0)) == 0.0
