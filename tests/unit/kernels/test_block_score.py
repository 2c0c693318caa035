import pytest
import torch

from assay_kernels import block_score, query_blocks


def sketches(blocks, *, batch=1, heads=8, kv_heads=2, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, blocks, dim, generator=generator)
    return q, torch.randn(batch, kv_heads, blocks, dim, generator=generator)


def formula(q, k, scaling):
    """The mean over heads of the softmax over blocks before the query block, in float64, row by row."""
    group = q.shape[1] // k.shape[1]
    expected = torch.zeros(q.shape[0], q.shape[2], k.shape[2], dtype=torch.float64)
    for b in range(q.shape[0]):
        for i in range(1, q.shape[2]):
            for h in range(q.shape[1]):
                logits = k[b, h // group, :i].double() @ q[b, h, i].double() * scaling
                expected[b, i, :i] += torch.softmax(logits, 0) / q.shape[1]
    expected[:, 0, 0] = 1
    return expected


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
def test_is_the_mean_over_heads_of_the_causal_softmax(implementation):
    q, k = sketches(23, batch=2)
    rows = query_blocks(23 * 64, 23 * 64, 64, batch=2)
    scores = block_score(q, k, rows, scaling=0.25, implementation=implementation)
    # float32 of weights below 1: half a unit of 2^-24, and the float32 softmax's own error.
    torch.testing.assert_close(scores.double(), formula(q, k, 0.25), rtol=0, atol=3e-7)
    torch.testing.assert_close(scores.sum(-1), torch.ones(2, 23), rtol=0, atol=1e-6)


def test_scores_know_nothing_of_later_blocks_and_their_own():
    q, k = sketches(20)
    rows = query_blocks(20 * 64, 20 * 64, 64)
    before = block_score(q, k, rows, scaling=0.25)
    k[:, :, 12:] = 1e3
    assert torch.equal(block_score(q, k, rows, scaling=0.25)[:, :13], before[:, :13])


@pytest.mark.parametrize(("low", "high"), [(0, 5), (5, 6), (6, 20)])
def test_rows_are_bit_equal_however_they_are_asked_for(low, high):
    q, k = sketches(20, batch=3)
    whole = block_score(q, k, query_blocks(20 * 64, 20 * 64, 64, batch=3), scaling=0.25)
    rows = query_blocks((high - low) * 64, high * 64, 64)
    for b in range(3):
        part = block_score(q[b : b + 1, :, low:high], k[b : b + 1, :, :high], rows, scaling=0.25)
        assert torch.equal(part[0], whole[b, low:high, :high])


def test_a_window_of_queries_goes_in_as_heads():
    # Decoding's score is the mean, over the heads and the queries of a window, of their softmax.
    _, k = sketches(9, heads=4, kv_heads=2)
    window = torch.randn(1, 4, 5, 16)
    rows = query_blocks(1, 9 * 64, 64)
    together = block_score(window.reshape(1, 20, 1, 16), k, rows, scaling=0.25)
    one_by_one = [block_score(window[:, :, w : w + 1], k, rows, scaling=0.25) for w in range(5)]
    torch.testing.assert_close(together, torch.stack(one_by_one).mean(0), rtol=0, atol=1e-6)


def test_not_causal_scores_all_blocks_of_the_row_and_none_beyond():
    q, k = sketches(6, batch=2)
    starts = torch.tensor([0, 2 * 64])
    rows = query_blocks(6 * 64, 6 * 64, 64, starts=starts)
    scores = block_score(q, k, rows, scaling=0.25, causal=False)
    reference = block_score(q, k, rows, scaling=0.25, causal=False, implementation="reference")
    torch.testing.assert_close(scores, reference, rtol=0, atol=2e-7)
    assert (scores[0] > 0).all()
    assert (scores[1, :4, :4] > 0).all()
    assert (scores[1, :, 4:] == 0).all()
    assert (scores[1, 4:] == 0).all()


def test_large_logits_stay_finite():
    q, k = sketches(8)
    scores = block_score(q * 1e4, k * 1e4, query_blocks(512, 512, 64), scaling=1.0)
    torch.testing.assert_close(scores.sum(-1), torch.ones(1, 8))


def test_shapes_that_do_not_fit_are_named():
    q, k = sketches(4)
    rows = query_blocks(256, 256, 64)
    with pytest.raises(ValueError, match="sketch_dim"):
        block_score(q, k[..., :8], rows, scaling=1.0)
    with pytest.raises(ValueError, match="multiple"):
        block_score(q[:, :3], k, rows, scaling=1.0)
    with pytest.raises(ValueError, match="rows"):
        block_score(q, k, query_blocks(64, 256, 64), scaling=1.0)
