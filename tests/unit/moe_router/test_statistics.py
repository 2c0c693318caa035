"""Statistics count what was routed, survive files and shards, and refuse what no routing gives."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import DataLoss, InvalidInput, ResourceExhausted
from assay_moe_router.core import statistics
from assay_moe_router.core.statistics import COUNTS, SUMMARY, LayerRouting, RoutingStatistics


def layer_of(choices: Any, experts: int = 4, layer: int = 0, **changes: Any) -> LayerRouting:
    fields: dict[str, Any] = {
        "weight_sums": np.zeros(experts),
        "dropped": np.zeros(experts, dtype=np.int64),
        "masked_tokens": 0,
    }
    return LayerRouting.from_choices(layer, experts, np.asarray(choices, dtype=np.int32), **{**fields, **changes})


def random_layer(seed: int, sequences: int, tokens: int = 5, experts: int = 4, k: int = 2, layer: int = 0):
    random = np.random.default_rng(seed)
    choices = np.argsort(random.random((sequences, tokens, experts)), axis=2)[..., :k]
    choices[random.random((sequences, tokens)) < 0.2] = -1
    return layer_of(
        choices, experts, layer,
        weight_sums=random.random(experts), dropped=random.integers(0, 3, experts), masked_tokens=int(seed % 5),
        foreign_choices=int(seed % 3),
    )  # fmt: skip


def same(one: LayerRouting, other: LayerRouting) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("layer", "counts", "choices", "weight_sums", "dropped", "masked_tokens", "foreign_choices")
    )


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 9))
@settings(max_examples=40)
def test_counts_are_those_of_a_plain_count(seed: int, sequences: int, tokens: int) -> None:
    layer = random_layer(seed, sequences, tokens)
    for row, chosen in zip(layer.counts, layer.choices, strict=True):
        plain = Counter(chosen.ravel().tolist())
        assert row.tolist() == [plain[expert] for expert in range(4)]
    assert layer.counts.dtype == np.int64
    assert layer.loads.tolist() == layer.counts.sum(axis=0).tolist()
    assert layer.loads.sum() == (layer.choices >= 0).sum()


def test_counts_go_beyond_what_short_floats_can_count() -> None:
    # bfloat16 stops counting at 256, float16 at 2,048.
    assert layer_of(np.full((1, 5000, 1), 2)).loads.tolist() == [0, 0, 5000, 0]


@given(st.integers(0, 2**32), st.integers(2, 7), st.data())
@settings(max_examples=30)
def test_shards_add_up_to_the_whole(seed: int, sequences: int, data: st.DataObject) -> None:
    whole = random_layer(seed, sequences)
    cut = data.draw(st.integers(1, sequences - 1))
    parts = [whole.window(0, cut), whole.window(cut, sequences)]
    merged = RoutingStatistics.merge([RoutingStatistics((part,)) for part in parts]).layer(0)
    assert np.array_equal(merged.counts, whole.counts)
    assert np.array_equal(merged.choices, whole.choices)


def test_merging_adds_sums_and_keeps_order() -> None:
    one, two = random_layer(1, 3), random_layer(2, 2)
    merged = LayerRouting.concatenate([one, two])
    assert merged.counts.tolist() == [*one.counts.tolist(), *two.counts.tolist()]
    assert np.allclose(merged.weight_sums, one.weight_sums + two.weight_sums)
    assert merged.dropped.tolist() == (one.dropped + two.dropped).tolist()
    assert (merged.masked_tokens, merged.foreign_choices) == (1 + 2, 1 + 2)
    assert merged.dropped_tokens == one.dropped_tokens + two.dropped_tokens


def test_passes_of_different_lengths_are_filled_up_without_counting_more() -> None:
    short, long = random_layer(1, 2, tokens=3), random_layer(2, 2, tokens=7)
    merged = LayerRouting.concatenate([short, long])
    assert merged.choices.shape == (4, 7, 2)
    assert (merged.choices[:2, 3:] == -1).all()
    assert merged.loads.tolist() == (short.loads + long.loads).tolist()
    assert merged.masked_tokens == short.masked_tokens + long.masked_tokens


def test_files_round_trip() -> None:
    whole = RoutingStatistics((random_layer(3, 4, layer=1), random_layer(4, 4, experts=6, k=1, layer=3)))
    back = RoutingStatistics.from_files(whole.to_files())
    assert len(back.layers) == 2
    assert all(same(one, other) for one, other in zip(back.layers, whole.layers, strict=True))
    summary = json.loads(whole.to_files()[SUMMARY])
    assert summary["sequences"] == 4
    assert [entry["expert_tokens"] for entry in summary["layers"]] == [layer.loads.tolist() for layer in whole.layers]
    assert whole.to_files() == back.to_files()  # byte for byte: artifacts are named by their content


@given(st.integers(0, 2**32), st.sampled_from([COUNTS, SUMMARY]), st.booleans())
@settings(max_examples=60)
def test_damaged_files_are_data_loss(seed: int, name: str, cut: bool) -> None:
    files = RoutingStatistics((random_layer(3, 4),)).to_files()
    random = np.random.default_rng(seed)
    data = bytearray(files[name])
    if cut:
        del data[int(random.integers(0, len(data))) :]
    else:
        for position in random.integers(0, len(data), 8):
            data[position] = int(random.integers(0, 256))
    try:
        RoutingStatistics.from_files({**files, name: bytes(data)})
    except (DataLoss, InvalidInput, ResourceExhausted):
        return
    assert not cut  # a flipped byte may still be a possible count (the store's hash tells); a cut file never is


def test_files_that_are_missing_are_data_loss() -> None:
    files = RoutingStatistics((random_layer(3, 4),)).to_files()
    for name in files:
        with pytest.raises(DataLoss):
            RoutingStatistics.from_files({other: data for other, data in files.items() if other != name})


def test_an_expert_id_out_of_range_is_named_by_index() -> None:
    choices = np.zeros((2, 3, 1), dtype=np.int32)
    choices[1, 2, 0] = 4
    for wrong in (4, -2):
        choices[1, 2, 0] = wrong
        with pytest.raises(InvalidInput) as caught:
            layer_of(choices, layer=7)
        assert caught.value.violations[0].field == "layers[7].choices[1][2][0]"
        assert str(wrong) in caught.value.message


def test_k_above_m_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"layers\[0\].choices: k is 5, above m = 4"):
        layer_of(np.full((1, 1, 5), -1))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"counts": np.array([[1.0, 2.0], [3.0, float("nan")]])}, "layers[5].counts[1][1]"),
        ({"counts": np.array([[1.0, float("inf")], [3.0, 0.0]])}, "layers[5].counts[0][1]"),
        ({"counts": np.array([[1, 2], [-3, 9]])}, "layers[5].counts[1][0]"),  # the column's sum is not negative: -2
        ({"counts": np.array([[5, 2], [-3, 9]])}, "layers[5].counts[1][0]"),  # here it is 2, and hides the count
        ({"counts": np.ones((2, 2), dtype=np.float32)}, "layers[5].counts"),
        ({"counts": np.ones(4, dtype=np.int64)}, "layers[5].counts"),
        ({"counts": np.ones((3, 2), dtype=np.int64)}, "layers[5].counts"),
        ({"weight_sums": np.array([1.0, float("nan")])}, "layers[5].weight_sums[1]"),
        ({"weight_sums": np.zeros(3)}, "layers[5].weight_sums"),
        ({"dropped": np.array([-1, 0])}, "layers[5].dropped[0]"),
        ({"masked_tokens": -1}, "layers[5].masked_tokens"),
        ({"foreign_choices": -1}, "layers[5].foreign_choices"),
        ({"choices": np.zeros((2, 4), dtype=np.int32)}, "layers[5].choices"),
        ({"choices": np.zeros((2, 4, 1))}, "layers[5].choices"),
    ],
)
def test_impossible_statistics_are_named_by_field_and_index(changes: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {
        "counts": np.ones((2, 2), dtype=np.int64),
        "choices": np.zeros((2, 4, 1), dtype=np.int32),
        "weight_sums": np.zeros(2),
        "dropped": np.zeros(2, dtype=np.int64),
        "masked_tokens": 0,
    }
    with pytest.raises(InvalidInput) as caught:
        LayerRouting(5, **{**fields, **changes})
    assert caught.value.violations[0].field == field


def test_ragged_layers_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        RoutingStatistics((random_layer(1, 3, layer=0), random_layer(2, 4, layer=1)))
    assert caught.value.violations[0].field == "layers[1].counts"


def test_a_duplicate_layer_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        RoutingStatistics((random_layer(1, 3, layer=0), random_layer(2, 3, layer=1), random_layer(3, 3, layer=0)))
    assert caught.value.violations[0].field == "layers[2].layer"


def test_shards_of_different_models_do_not_merge() -> None:
    shards = [RoutingStatistics((random_layer(1, 2, layer=layer),)) for layer in (0, 1)]
    with pytest.raises(InvalidInput, match="different layers"):
        RoutingStatistics.merge(shards)
    with pytest.raises(InvalidInput, match="differ in experts or k"):
        RoutingStatistics.merge([RoutingStatistics((random_layer(1, 2, experts=m),)) for m in (4, 6)])
    with pytest.raises(InvalidInput, match="none"):
        RoutingStatistics.merge([])


def test_limits_hold_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceExhausted, match="4097 experts"):
        layer_of(np.zeros((1, 1, 1)), experts=4097)
    # A trace of 10^9 tokens: a view of one number, so that the test itself allocates nothing.
    trace = np.broadcast_to(np.zeros(1, dtype=np.int32), (1, 10**9, 1))
    with pytest.raises(ResourceExhausted, match="1000000000 choices"):
        LayerRouting.from_choices(0, 8, trace, weight_sums=np.zeros(8), dropped=np.zeros(8, int), masked_tokens=0)
    # No tokens in very many sequences would be counted into a table of 4 * 10^9 cells.
    empty = np.zeros((10**9, 0, 2), dtype=np.int32)
    with pytest.raises(ResourceExhausted):
        LayerRouting.from_choices(0, 4, empty, weight_sums=np.zeros(4), dropped=np.zeros(4, int), masked_tokens=0)
    files = RoutingStatistics((random_layer(3, 4),)).to_files()
    summary = json.loads(files[SUMMARY])
    summary["layers"][0]["experts"] = 10**15
    with pytest.raises(ResourceExhausted):
        RoutingStatistics.from_files({**files, SUMMARY: json.dumps(summary).encode()})
    monkeypatch.setattr(statistics, "MAX_LAYER_EXPERTS", 7)
    with pytest.raises(ResourceExhausted, match="8 experts together"):
        RoutingStatistics((random_layer(1, 3, layer=0), random_layer(1, 3, layer=1)))


def test_a_layer_that_was_not_counted_is_named() -> None:
    with pytest.raises(InvalidInput, match="layer: 9"):
        RoutingStatistics((random_layer(1, 3),)).layer(9)
