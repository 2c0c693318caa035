import pytest
import torch
import torch.nn.functional as F
from unit.kernels.parts import as_pages, attention_float64, pair_mask, random_heads, row_errors

from assay_kernels import block_sparse_prefill, query_blocks, select_blocks
from assay_kernels.selection import select_all, selection_from_lists

IMPLEMENTATIONS = ["reference", "cpu"]


def causal_mask(q_len, k_len, starts):
    column = torch.arange(k_len)
    row = torch.arange(k_len - q_len, k_len)[:, None]
    return torch.stack([(column <= row) & (column >= start) & (row >= start) for start in starts])[:, None]


@pytest.mark.parametrize("starts", [None, [0, 13]], ids=["whole", "padded"])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 777, 2048])
def test_density_1_errs_no_more_than_twice_sdpa_row_by_row(length, starts):
    # Grouped queries 4:1. The bar of every query is its own error in SDPA, which gets each row without its padding.
    # A query of one key has none in either.
    if starts is not None and length <= max(starts):
        starts = [0, length]
    batch = 1 if starts is None else 2
    q, k, v = random_heads(length, batch=batch, head_dim=64)
    tensor = None if starts is None else torch.tensor(starts)
    rows = query_blocks(length, length, 64, starts=tensor, batch=batch)
    exact, exact_lse = attention_float64(q, k, v, causal_mask(length, length, starts or [0]))
    out, lse = block_sparse_prefill(q, k, v, select_all(rows), starts=tensor, return_lse=True)
    for b, start in enumerate(starts or [0]):
        own = [x[b : b + 1, :, start:] for x in (q, k.repeat_interleave(4, 1), v.repeat_interleave(4, 1))]
        sdpa = F.scaled_dot_product_attention(*own, is_causal=True)
        bar = 2 * row_errors(sdpa[0], exact[b, :, start:])
        assert (row_errors(out[b, :, start:], exact[b, :, start:]) <= bar).all()
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("heads", [1, 2, 8], ids=["shared", "by-key-head", "by-query-head"])
@pytest.mark.parametrize(("q_len", "starts"), [(300, [0, 77, 300]), (100, [0, 210, 250]), (1, [0, 5, 299])])
def test_attends_to_the_selected_pairs_alone(q_len, starts, heads, implementation):
    q, k, v = random_heads(300, batch=3)
    tensor = torch.tensor(starts)
    rows = query_blocks(q_len, 300, 64, starts=tensor)
    scores = torch.rand(3, heads, rows.entries, 5, generator=torch.Generator().manual_seed(1))
    chosen = select_blocks(scores, rows, top_k=1, sink_blocks=0, window_blocks=0)
    exact, exact_lse = attention_float64(q[:, :, -q_len:], k, v, pair_mask(chosen, q_len, 300, starts))
    out, lse = block_sparse_prefill(
        q[:, :, -q_len:], k, v, chosen, starts=tensor, implementation=implementation, return_lse=True
    )
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_selection_without_the_query_block_itself(implementation):
    q, k, v = random_heads(200)
    rows = query_blocks(200, 200, 64)
    chosen = selection_from_lists([[[], [0], [0, 2], [1, 2]]], rows)
    exact, exact_lse = attention_float64(q, k, v, pair_mask(chosen, 200, 200, [0]))
    out, lse = block_sparse_prefill(q, k, v, chosen, implementation=implementation, return_lse=True)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)
    assert (out[:, :, :64] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_errs_as_sdpa_does(dtype):
    q, k, v = random_heads(500, head_dim=64, dtype=dtype)
    exact, _ = attention_float64(q, k, v, causal_mask(500, 500, [0]))
    out, _ = block_sparse_prefill(q, k, v, select_all(query_blocks(500, 500, 64)))
    sdpa = F.scaled_dot_product_attention(q, k.repeat_interleave(4, 1), v.repeat_interleave(4, 1), is_causal=True)
    assert out.dtype == dtype
    unit = torch.finfo(dtype).eps
    assert (row_errors(out, exact) <= torch.maximum(2 * row_errors(sdpa, exact), unit * exact.norm(dim=-1))).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_pages_give_what_one_tensor_gives(implementation):
    starts = [0, 77, 232]
    q, k, v = random_heads(300, batch=3)
    tensor = torch.tensor(starts)
    rows = query_blocks(68, 300, 64, starts=tensor)
    chosen = select_blocks(torch.rand(3, rows.entries, 5), rows, top_k=1)
    k_pages, v_pages, table = as_pages(k, v, starts, 64)
    expected = block_sparse_prefill(
        q[:, :, -68:], k, v, chosen, starts=tensor, implementation=implementation, return_lse=True
    )
    found = block_sparse_prefill(
        q[:, :, -68:],
        k_pages,
        v_pages,
        chosen,
        block_table=table,
        lengths=300 - tensor,
        implementation=implementation,
        return_lse=True,
    )
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_row_is_bit_equal_alone_and_in_a_batch():
    starts = [0, 77, 300, 128]
    q, k, v = random_heads(300, batch=4)
    tensor = torch.tensor(starts)
    rows = query_blocks(300, 300, 64, starts=tensor)
    scores = torch.rand(4, rows.entries, 5)
    out, lse = block_sparse_prefill(q, k, v, select_blocks(scores, rows, top_k=1), starts=tensor, return_lse=True)
    for b, start in enumerate(starts):
        own = query_blocks(300 - start, 300 - start, 64)
        chosen = select_blocks(scores[b : b + 1, : own.entries], own, top_k=1)
        alone = block_sparse_prefill(*(x[b : b + 1, :, start:] for x in (q, k, v)), chosen, return_lse=True)
        assert torch.equal(out[b, :, start:], alone[0][0])
        assert torch.equal(lse[b, :, start:], alone[1][0])
        assert (out[b, :, :start] == 0).all()
        assert (lse[b, :, :start] == -torch.inf).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_nothing_to_do(implementation):
    q, k, v = random_heads(40)
    out, lse = block_sparse_prefill(
        q[:, :, :0], k, v, select_all(query_blocks(0, 40, 16)), implementation=implementation, return_lse=True
    )
    assert out.shape == (1, 8, 0, 32)
    assert lse.shape == (1, 8, 0)


def test_what_does_not_fit_is_named():
    q, k, v = random_heads(128)
    chosen = select_all(query_blocks(128, 128, 64))
    with pytest.raises(ValueError, match="head_dim"):
        block_sparse_prefill(q[..., :16], k, v, chosen)
    with pytest.raises(ValueError, match="multiple"):
        block_sparse_prefill(q[:, :3], k, v, chosen)
    with pytest.raises(ValueError, match="float32, float16, bfloat16"):
        block_sparse_prefill(q.double(), k.double(), v.double(), chosen)
    with pytest.raises(ValueError, match="other query blocks"):
        block_sparse_prefill(q[:, :, 64:], k, v, chosen)
    with pytest.raises(ValueError, match="another length"):
        block_sparse_prefill(q[:, :, :64], k[:, :, :64], v[:, :, :64], chosen)
    with pytest.raises(ValueError, match="starts"):
        block_sparse_prefill(q, k, v, chosen, starts=torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="implementation"):
        block_sparse_prefill(q, k, v, chosen, implementation="cuda")
    pages = k.view(1, 2, 2, 64, 32)[0].transpose(0, 1), v.view(1, 2, 2, 64, 32)[0].transpose(0, 1)
    lengths = torch.tensor([128])
    for table in ([[0, 2]], [[-1, 0]]):
        with pytest.raises(ValueError, match="block_table"):
            block_sparse_prefill(q, *pages, chosen, block_table=torch.tensor(table), lengths=lengths)
    with pytest.raises(ValueError, match="lengths"):
        block_sparse_prefill(q, *pages, chosen, block_table=torch.tensor([[0, 1]]))
