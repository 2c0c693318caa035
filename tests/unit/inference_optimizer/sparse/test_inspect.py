"""What an inspection reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.config import Method
from assay_inference_optimizer.core.sparse.fallbacks import Dense
from assay_inference_optimizer.core.sparse.inspect import inspect


def test_blocks_density_and_recall_of_every_layer(llama, text, sparse):
    found = inspect(llama, text(1, 250)[0], sparse, cancel=CancelToken())
    assert [layer.layer for layer in found.layers] == [0, 1, 2]
    assert found.layers[0].fallback.why is Dense.CONFIGURED
    assert found.layers[0].blocks == ()
    for layer in found.layers[1:]:
        assert layer.fallback is None
        assert len(layer.blocks) == 16
        assert layer.scores.shape == (16, 16)
        assert not np.triu(layer.scores, 1).any()
        assert layer.scores.sum(1) == pytest.approx(np.ones(16), abs=1e-5)
        pairs = 0
        for query_block, blocks in enumerate(layer.blocks):
            assert list(blocks) == sorted(set(blocks))
            assert {0, query_block, max(0, query_block - 1)} <= set(blocks)
            queries = min(16, 250 - 16 * query_block)
            pairs += queries * 16 * (len(blocks) - 1) + queries * (queries + 1) // 2
        assert layer.density == pytest.approx(pairs / (250 * 251 / 2))
        # The first three blocks attend to everything; the best choice catches at least what was chosen.
        assert layer.block_mass[:3] == pytest.approx([1.0] * 3)
        assert 0 < layer.mass <= layer.oracle_mass <= 1
    assert found.density == pytest.approx(sum(layer.density for layer in found.layers) / 3)


def test_the_oracle_catches_more_than_the_walk_and_that_more_than_chance(llama, text, sparse):
    free = replace(sparse, sink_tokens=0, window_tokens=0)
    recalls = {
        method: [
            layer.oracle_recall
            for layer in inspect(llama, text(1, 250)[0], replace(free, method=method), cancel=CancelToken()).layers
            if layer.fallback is None
        ]
        for method in (Method.ORACLE, Method.SKETCH_WALK, Method.RANDOM)
    }
    # The query's own block is forced still, and in a model with random weights no better than any other: hence not 1.
    for oracle, walk, random in zip(*recalls.values(), strict=True):
        assert 1 >= oracle > walk > random + 0.02


def test_a_batch_is_no_text(llama, text, sparse):
    with pytest.raises(InvalidInput, match="one text"):
        inspect(llama, text(2, 20), sparse, cancel=CancelToken())
