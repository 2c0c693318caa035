"""What blocks are chosen by, against formulas written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from assay.cancel import CancelToken
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.baselines import block_mass, chance, rows_of
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method, Variant
from assay_inference_optimizer.core.sparse.prefill import prefill
from assay_inference_optimizer.core.sparse.step import Step
from assay_kernels import block_score, feature_sketch, query_blocks, sketch_pool, walk

SIZE = 16


def passes(model, sparse, ids, prompt):
    """[{layer: Chosen}], one for the prompt and one for each token decoded after it."""
    cache = SparseCache(model.config, sparse)
    found = [{}]
    with cache.watched(lambda layer, chosen: found[-1].__setitem__(layer, chosen)):
        prefill(model, ids[:, :prompt], cache, cancel=CancelToken())
        for step in range(prompt, ids.shape[1]):
            found.append({})
            model(ids[:, step : step + 1], past_key_values=cache)
    return found


def sketch_of(x, size=SIZE):
    return sketch_pool(x, feature_sketch(x.shape[3], None, seed=0), block_size=size)


def one_hop(step):
    pooled = sketch_of(step.query)
    return block_score(pooled.sketches, sketch_of(step.key).sketches, pooled.rows, scaling=step.scaling)


def test_icml_walks_from_the_layer_below(llama, text, sparse):
    attach(llama)
    sparse = replace(sparse, dense_layers=0)
    (found,) = passes(llama, sparse, text(1, 210), 210)
    below = None
    for layer in range(3):
        a = one_hop(found[layer].step).double()
        start = a if below is None else below
        b = sparse.damping
        # The closed form of three steps.
        walked = (1 - b) * (a + b * a @ a + b**2 * a @ a @ a) + b**3 * start @ a @ a @ a
        torch.testing.assert_close(found[layer].scores.double(), walked, rtol=0, atol=1e-6)
        below = walked
    without_below = (1 - b) * (a + b * a @ a + b**2 * a @ a @ a) + b**3 * a @ a @ a @ a
    assert (without_below - walked).abs().max() > 1e-4  # so the test would notice


def test_v1_averages_heads_first_and_multiplies_over_layers(llama, text, sparse):
    attach(llama)
    sparse = replace(sparse, variant=Variant.V1, dense_layers=0)
    (found,) = passes(llama, sparse, text(1, 210), 210)
    below = None
    for layer in range(3):
        step = found[layer].step
        query, key = sketch_of(step.query.mean(1, keepdim=True)), sketch_of(step.key.mean(1, keepdim=True))
        plain = block_score(query.sketches, key.sketches, query.rows, scaling=step.scaling).double()
        sharp = plain**8 / (plain**8).sum(-1, keepdim=True)
        below = sharp if below is None else below @ sharp
        torch.testing.assert_close(found[layer].scores.double(), below, rtol=0, atol=1e-5)


def test_one_hop_is_the_score_alone(llama, text, sparse):
    attach(llama)
    (found,) = passes(llama, replace(sparse, method=Method.ONE_HOP), text(1, 210), 210)
    for layer in (1, 2):
        torch.testing.assert_close(found[layer].scores, one_hop(found[layer].step), rtol=0, atol=1e-6)


def test_decoding_averages_the_rows_of_a_block_and_walks_inside_the_layer(llama, text, sparse):
    attach(llama)
    ids = text(1, 140)
    found = passes(llama, sparse, ids, 100)
    assert len(found) == 41
    layer = 2
    prompt = found[0][layer].step
    queries = [prompt.query[:, :, position] for position in range(100)]
    transitions = torch.zeros(1, 9, 9)
    transitions[:, :7, :7] = one_hop(prompt)
    for decoded in found[1:]:
        step = decoded[layer].step
        queries.append(step.query[:, :, 0])
        tokens, block = step.tokens, (step.tokens - 1) // SIZE
        # The mean over heads and the last 16 queries of the softmax of each alone.
        keys = sketch_of(step.key).sketches.repeat_interleave(2, 1)[:, :, :block]
        recent = torch.stack(queries[-16:], dim=2)  # [1, 4, 16, 8]
        logits = torch.stack([sketch_of(recent[:, :, [w]]).sketches[:, :, 0] for w in range(16)], dim=2)
        a = torch.softmax(logits @ keys.transpose(2, 3) * step.scaling, dim=-1).mean((1, 2))
        place = (tokens - 1) % SIZE
        old = transitions[:, block, :block]
        transitions[:, block, :block] = a if place == 0 else old + (a - old) / (place + 1)
        blocks = block + 1
        row = torch.cat([a, torch.zeros(1, 1)], dim=1)[:, None]
        expected = walk(row, transitions[:, :blocks, :blocks], None, damping=sparse.damping, degree=sparse.degree)
        torch.testing.assert_close(decoded[layer].scores, expected, rtol=0, atol=2e-6)


def test_the_oracle_s_mass_is_that_of_full_attention():
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 50, 8), torch.randn(2, 2, 90, 8)
    starts = torch.tensor([0, 30])
    step = Step(query, key, starts, 0.5, decoding=False)
    rows = rows_of(step, SIZE)
    found = block_mass(step, rows)
    for row, start in enumerate([0, 30]):
        mean = torch.zeros(rows.entries, 6)
        counts = torch.zeros(rows.entries)
        for position in range(40, 90):
            entry = (position - start) // SIZE - int(rows.first[row])
            for head in range(4):
                logits = query[row, head, position - 40] @ key[row, head // 2, start : position + 1].T * 0.5
                for token, weight in enumerate(torch.softmax(logits, dim=0)):
                    mean[entry, token // SIZE] += weight / 4
            counts[entry] += 1
        real = int(rows.end[row] - rows.first[row])
        torch.testing.assert_close(found[row, :real], (mean / counts[:, None])[:real], rtol=0, atol=1e-6)
        assert not found[row, real:].any()


def test_chance_is_uniform_and_a_function_of_seed_and_blocks_alone():
    key = torch.zeros(1, 1, 64 * 256, 1)
    rows = query_blocks(64 * 256, 64 * 256, 64)
    step = Step(key, key, None, 1.0, decoding=False)
    scores = chance(step, rows, 3)[0]
    # 65,536 draws: the mean of a uniform one strays 0.0011 (one standard error), neighbours' correlation 0.004.
    assert scores.mean().item() == pytest.approx(0.5, abs=0.005)
    assert scores.std().item() == pytest.approx(12**-0.5, abs=0.005)
    for one, next_one in ((scores[:-1], scores[1:]), (scores[:, :-1], scores[:, 1:])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), next_one.flatten()]))[0, 1].item()) < 0.02
    later = Step(key[:, :, :64], key, None, 1.0, decoding=False)
    assert torch.equal(chance(later, rows_of(later, 64), 3)[0, 0], scores[255])
    assert not torch.equal(chance(step, rows, 4)[0], scores)


def test_every_method_spends_the_same(llama, text, sparse):
    attach(llama)
    ids = text(1, 300)
    densities = {}
    for method in set(Method) - {Method.DENSE}:
        cache = SparseCache(llama.config, replace(sparse, method=method))
        prefill(llama, ids[:, :280], cache, cancel=CancelToken())
        for step in range(280, 300):
            llama(ids[:, step : step + 1], past_key_values=cache)
        densities[method] = cache.density()
    assert len({tuple(density.items()) for density in densities.values()}) == 1
