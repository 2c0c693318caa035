"""Scores survive files and shards; what is no score is refused."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataLoss, InvalidInput
from assay_moe_router.core.importance import SCORES, SUMMARY, Importance, LayerScores, Metric


def scored(layer: int, experts: tuple[int, ...], sequences: int | None = 3, seed: int = 0) -> LayerScores:
    # A score of an expert is the same whichever shard it is in.
    rows = np.array([np.random.default_rng([seed, layer, e]).normal(size=sequences or 3) for e in experts])
    return LayerScores(layer, experts, rows.mean(axis=1), rows if sequences else None)


def importance(*layers: LayerScores, metric: Metric = Metric.LEAVE_ONE_OUT_LOSS) -> Importance:
    return Importance(metric, layers)


@pytest.mark.parametrize("sequences", [3, None])
def test_files_round_trip(sequences: int | None) -> None:
    whole = importance(scored(1, (0, 1, 2), sequences), scored(4, (0, 1), sequences))
    back = Importance.from_files(whole.to_files())
    assert back.metric is whole.metric
    for one, other in zip(back.layers, whole.layers, strict=True):
        assert (one.layer, one.experts) == (other.layer, other.experts)
        assert np.array_equal(one.scores, other.scores)
        assert (one.per_sequence is None) == (other.per_sequence is None)
        if one.per_sequence is not None:
            assert np.array_equal(one.per_sequence, other.per_sequence)
    assert back.to_files() == whole.to_files()


def test_damaged_files_are_data_loss() -> None:
    files = importance(scored(1, (0, 1, 2))).to_files()
    wrong = json.loads(files[SUMMARY])
    wrong["metric"] = "guess"
    for damaged in (
        {**files, SCORES: files[SCORES][:-1]},
        {**files, SUMMARY: files[SUMMARY][:-2]},
        {**files, SUMMARY: json.dumps(wrong).encode()},
        {**files, SUMMARY: b"[]"},
        {SCORES: files[SCORES]},
        {SUMMARY: files[SUMMARY]},
    ):
        with pytest.raises(DataLoss, match="score the experts again"):
            Importance.from_files(damaged)


@given(st.permutations(range(6)), st.lists(st.integers(1, 5), max_size=3, unique=True), st.randoms())
def test_shards_in_any_order_and_cut_merge_to_the_whole(experts: list[int], cuts: list[int], random: object) -> None:
    # Experts of a shard need not be neighbours: shards (0, 2) and (1, 3) would otherwise stay interleaved.
    edges = [0, *sorted(cuts), 6]
    shards = [importance(scored(2, tuple(experts[a:b]))) for a, b in pairwise(edges)]
    random.shuffle(shards)  # type: ignore[attr-defined]
    (merged,) = Importance.merge(shards).layers
    whole = scored(2, tuple(range(6)))
    assert merged.experts == whole.experts
    assert np.array_equal(merged.scores, whole.scores)
    assert merged.per_sequence is not None
    assert np.array_equal(merged.per_sequence, whole.per_sequence)  # type: ignore[arg-type]


def test_shards_that_do_not_belong_together_are_refused() -> None:
    one = importance(scored(0, (0, 1)))
    with pytest.raises(InvalidInput, match="twice"):
        Importance.merge([one, importance(scored(0, (1, 2)))])
    with pytest.raises(InvalidInput, match="several metrics"):
        Importance.merge([one, importance(scored(0, (2, 3)), metric=Metric.WANDA_ROW)])
    with pytest.raises(InvalidInput, match="different numbers of sequences"):
        Importance.merge([one, importance(scored(0, (2, 3), sequences=5))])
    with pytest.raises(InvalidInput):
        Importance.merge([])


def test_scores_that_are_no_numbers_are_named() -> None:
    # A sort would put NaN anywhere, and an arbitrary expert would be quantized.
    with pytest.raises(InvalidInput) as caught:
        LayerScores(3, (4, 5), np.array([1.0, float("nan")]))
    assert caught.value.violations[0].field == "layers[3].importance[5]"
    with pytest.raises(InvalidInput, match=r"layers\[3\].importance: has shape"):
        LayerScores(3, (4, 5), np.zeros(3))
    with pytest.raises(InvalidInput, match="by sequence"):
        LayerScores(3, (4, 5), np.zeros(2), np.zeros((3, 2)))


def test_a_layer_that_was_not_scored_is_named() -> None:
    with pytest.raises(InvalidInput, match="nothing of layer 7"):
        importance(scored(1, (0,))).layer(7)
