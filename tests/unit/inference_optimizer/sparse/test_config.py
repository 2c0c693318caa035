"""Bad settings name their field; densities add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import LlamaConfig, MistralConfig

from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import DensityScope, Method, SparseConfig, Variant
from assay_inference_optimizer.core.sparse.densities import layer_densities
from assay_inference_optimizer.core.sparse.fallbacks import Dense, Fallback, unsuited

MODEL = LlamaConfig(
    hidden_size=64, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=24, vocab_size=32
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_size", 8),
        ("block_size", 48),
        ("sketch_dim", 0),
        ("sketch_dim", 33),
        ("damping", 1.0),
        ("damping", -0.1),
        ("damping", float("nan")),
        ("degree", -1),
        ("degree", 65),
        ("sink_tokens", -1),
        ("window_tokens", -1),
        ("target_density", 0.0),
        ("target_density", 1.01),
        ("target_density", float("nan")),
        ("dense_layers", 7),
        ("dense_layers", 6),  # all of them: nothing would run sparse, and the answer would look like no loss at all
        ("seed", -1),
        ("seed", 2**63),
        ("layer_densities", (0.5,) * 5),
        ("layer_densities", (0.5,) * 5 + (0.0,)),
    ],
)
def test_bad_settings_name_their_field(field, value):
    SparseConfig().check(MODEL)
    with pytest.raises(InvalidInput) as caught:
        replace(SparseConfig(), **{field: value}).check(MODEL)
    assert caught.value.violations[0].field.startswith(field)


def test_heads_that_do_not_divide_are_named():
    model = LlamaConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1)
    model.num_key_value_heads = 3
    with pytest.raises(InvalidInput, match="4 query heads for 3 key heads"):
        SparseConfig().check(model)


def test_sketches_keep_all_coordinates_in_icml_and_64_in_v1():
    assert [SparseConfig().sketch_dimensions(dim) for dim in (24, 64, 128)] == [32, 64, 128]
    v1 = SparseConfig(variant=Variant.V1)
    assert [v1.sketch_dimensions(dim) for dim in (24, 64, 128)] == [32, 64, 64]
    assert SparseConfig(sketch_dim=16).sketch_dimensions(128) == 16


def test_sparse_layers_make_up_for_dense_ones_where_all_layers_count():
    # 2 of 6 layers dense: (0.5 * 6 - 2) / 4 = 0.25 is left for each of the others.
    sparse = SparseConfig(target_density=0.5, density_scope=DensityScope.ALL_LAYERS)
    assert layer_densities(sparse, 6, {}) == [1, 1, 0.25, 0.25, 0.25, 0.25]
    assert layer_densities(replace(sparse, density_scope=DensityScope.SPARSE_LAYERS), 6, {}) == [1, 1] + [0.5] * 4
    # A recurrent layer is no layer to take a mean over: (0.5 * 5 - 2) / 3.
    recurrent = {4: Fallback(4, Dense.STATE_SPACE, "")}
    assert layer_densities(sparse, 6, recurrent) == pytest.approx([1, 1, 1 / 6, 1 / 6, 1, 1 / 6])
    with pytest.raises(InvalidInput, match=r"2 of 6 stay dense; give more than 0\.33"):
        layer_densities(replace(sparse, target_density=0.3), 6, {})


def test_densities_given_by_layer_win():
    sparse = SparseConfig(layer_densities=(0.5, 1.0, 0.25, 0.25, 1.0, 0.1))
    assert layer_densities(sparse, 6, {2: Fallback(2, Dense.SOFTCAP, "")}) == [0.5, 1, 1, 0.25, 1, 0.1]
    cache = SparseCache(MODEL, sparse)
    assert [cache.is_sparse(layer) for layer in range(6)] == [True, False, True, True, False, True]
    assert layer_densities(replace(sparse, method=Method.DENSE), 6, {}) == [1.0] * 6


def test_a_window_longer_than_any_prompt_is_still_a_window():
    found = unsuited(MistralConfig(num_hidden_layers=2, sliding_window=4096))
    assert {fallback.why for fallback in found.values()} == {Dense.SLIDING_WINDOW}
