import pytest
import torch
from unit.kernels.parts import as_pages, attention_float64, pair_mask, random_heads

from assay_kernels import block_sparse_decode, block_sparse_prefill, query_blocks, select_blocks
from assay_kernels.selection import select_all


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
@pytest.mark.parametrize("heads", [1, 2, 8], ids=["shared", "by-key-head", "by-query-head"])
def test_attends_to_the_selected_tokens_alone(heads, implementation):
    starts = [0, 77, 300, 299]
    q, k, v = random_heads(300, batch=4)
    tensor = torch.tensor(starts)
    rows = query_blocks(1, 300, 64, starts=tensor)
    scores = torch.rand(4, heads, 1, 5, generator=torch.Generator().manual_seed(1))
    chosen = select_blocks(scores, rows, top_k=1, window_blocks=0)
    exact, exact_lse = attention_float64(q[:, :, -1:], k, v, pair_mask(chosen, 1, 300, starts))
    out, lse = block_sparse_decode(
        q[:, :, -1:], k, v, chosen, starts=tensor, implementation=implementation, return_lse=True
    )
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)
    assert (out[2] == 0).all()
    assert (lse[2] == -torch.inf).all()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 777])
def test_is_the_last_row_of_a_prefill(length):
    q, k, v = random_heads(length)
    rows = query_blocks(length, length, 64)
    scores = torch.rand(1, rows.entries, rows.entries)
    prefilled, lse = block_sparse_prefill(q, k, v, select_blocks(scores, rows, density=0.4), return_lse=True)
    last = select_blocks(scores[:, -1:], query_blocks(1, length, 64), density=0.4)
    out, last_lse = block_sparse_decode(q[:, :, -1:], k, v, last, return_lse=True)
    torch.testing.assert_close(out, prefilled[:, :, -1:], rtol=0, atol=1e-6)
    torch.testing.assert_close(last_lse, lse[:, :, -1:], rtol=0, atol=1e-6)


def test_pages_and_batches_change_no_bit():
    starts = [0, 77, 232]
    q, k, v = random_heads(300, batch=3)
    tensor = torch.tensor(starts)
    rows = query_blocks(1, 300, 64, starts=tensor)
    scores = torch.rand(3, 1, 5)
    chosen = select_blocks(scores, rows, top_k=1)
    expected, _ = block_sparse_decode(q[:, :, -1:], k, v, chosen, starts=tensor)
    k_pages, v_pages, table = as_pages(k, v, starts, 64)
    paged, _ = block_sparse_decode(q[:, :, -1:], k_pages, v_pages, chosen, block_table=table, lengths=300 - tensor)
    assert torch.equal(paged, expected)
    for b, start in enumerate(starts):
        own = select_blocks(scores[b : b + 1], query_blocks(1, 300 - start, 64), top_k=1)
        alone, _ = block_sparse_decode(q[b : b + 1, :, -1:], k[b : b + 1, :, start:], v[b : b + 1, :, start:], own)
        assert torch.equal(alone[0], expected[b])


def test_several_queries_are_refused():
    q, k, v = random_heads(128)
    with pytest.raises(ValueError, match="block_sparse_prefill"):
        block_sparse_decode(q, k, v, select_all(query_blocks(128, 128, 64)))
