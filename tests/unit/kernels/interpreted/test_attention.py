"""block_sparse_prefill and block_sparse_decode in Triton, against float64 masks. Memory they must not read is NaN."""

import pytest
import torch
from unit.kernels.parts import as_pages, attention_float64, pair_mask, random_heads

from assay_kernels import BlockSelection, block_sparse_decode, block_sparse_prefill, query_blocks, select_blocks
from assay_kernels.selection import select_all, selection_from_lists

SIZE = 16
TRITON = {"implementation": "triton", "return_lse": True}
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3}


def chosen_of(q_len, k_len, starts, heads, *, top_k=1):
    rows = query_blocks(q_len, k_len, SIZE, starts=torch.tensor(starts))
    blocks = -(-k_len // SIZE)
    scores = torch.rand(len(starts), heads, rows.entries, blocks, generator=torch.Generator().manual_seed(1))
    return select_blocks(scores, rows, top_k=top_k, sink_blocks=0, window_blocks=0)


def padded_with_nan(x, starts):
    x = x.clone()
    for b, start in enumerate(starts):
        x[b, :, :start] = torch.nan
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("heads", [1, 2, 8], ids=["shared", "by-key-head", "by-query-head"])
@pytest.mark.parametrize(("q_len", "starts"), [(70, [0, 19]), (25, [70, 52])])
def test_prefill(q_len, starts, heads, dtype):
    q, k, v = random_heads(70, batch=2, head_dim=24, dtype=dtype)
    q = q[:, :, -q_len:]
    chosen = chosen_of(q_len, 70, starts, heads)
    exact, exact_lse = attention_float64(q, k, v, pair_mask(chosen, q_len, 70, starts))
    k, v = padded_with_nan(k, starts), padded_with_nan(v, starts)
    out, lse = block_sparse_prefill(
        q, k, v, chosen, starts=torch.tensor(starts), implementation="triton", return_lse=True
    )
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_prefill_of_everything(length):
    q, k, v = random_heads(length, head_dim=16)
    every = select_all(query_blocks(length, length, SIZE))
    exact, exact_lse = attention_float64(q, k, v, pair_mask(every, length, length, [0]))
    out, lse = block_sparse_prefill(q, k, v, every, **TRITON)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", [64, 128])
def test_prefill_of_blocks_of_several_tiles(size):
    # 3 heads a group: 3 * size rows, cut into tiles of 64 of which the last may be partly empty.
    q, k, v = random_heads(2 * size + 5, query_heads=3, kv_heads=1, head_dim=16)
    rows = query_blocks(70, 2 * size + 5, size)
    chosen = selection_from_lists([[list(range(block + 1)) for block in rows.ids()[0].tolist()]], rows)
    exact, _ = attention_float64(q[:, :, -70:], k, v, pair_mask(chosen, 70, 2 * size + 5, [0]))
    out, _ = block_sparse_prefill(q[:, :, -70:], k, v, chosen, implementation="triton")
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)


def test_prefill_without_the_query_block_itself():
    q, k, v = random_heads(48, head_dim=16)
    chosen = selection_from_lists([[[], [0], [0, 1]]], query_blocks(48, 48, SIZE))
    exact, exact_lse = attention_float64(q, k, v, pair_mask(chosen, 48, 48, [0]))
    out, lse = block_sparse_prefill(q, k, v, chosen, **TRITON)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("heads", [1, 2, 4], ids=["shared", "by-key-head", "by-query-head"])
def test_decode(heads, dtype):
    # 40 blocks of 16 in splits of 512 tokens: two splits, the second of them empty for the shorter rows.
    starts = [0, 300, 637, 640]
    q, k, v = random_heads(640, batch=4, query_heads=4, head_dim=24, dtype=dtype)
    q = q[:, :, -1:]
    chosen = chosen_of(1, 640, starts, heads, top_k=36)
    exact, exact_lse = attention_float64(q, k, v, pair_mask(chosen, 1, 640, starts))
    k, v = padded_with_nan(k, starts), padded_with_nan(v, starts)
    out, lse = block_sparse_decode(
        q, k, v, chosen, starts=torch.tensor(starts), implementation="triton", return_lse=True
    )
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(lse.double(), exact_lse, rtol=0, atol=5e-6)


@pytest.mark.parametrize("q_len", [20, 1])
def test_pages(q_len):
    starts = [0, 37]
    q, k, v = random_heads(70, batch=2, head_dim=16)
    q, tensor = q[:, :, -q_len:], torch.tensor(starts)
    chosen = chosen_of(q_len, 70, starts, 1)
    attend = block_sparse_decode if q_len == 1 else block_sparse_prefill
    k_pages, v_pages, table = as_pages(k, v, starts, SIZE)
    expected = attend(q, k, v, chosen, starts=tensor, **TRITON)
    found = attend(
        q, k_pages, v_pages, chosen, block_table=table, lengths=70 - tensor, implementation="triton", return_lse=True
    )
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("q_len", [40, 1])
def test_a_row_is_bit_equal_alone_and_in_a_batch(q_len):
    starts = [0, 27, 11]
    q, k, v = random_heads(100, batch=3, head_dim=16)
    attend = block_sparse_decode if q_len == 1 else block_sparse_prefill
    together, _ = attend(
        q[:, :, -q_len:], k, v, chosen_of(q_len, 100, starts, 1), starts=torch.tensor(starts), implementation="triton"
    )
    every = chosen_of(q_len, 100, starts, 1)
    for b, start in enumerate(starts):
        rows = query_blocks(q_len, 100 - start, SIZE)
        own = BlockSelection(
            every.indices[b : b + 1, :, : rows.entries], every.counts[b : b + 1, :, : rows.entries], rows
        )
        alone, _ = attend(
            q[b : b + 1, :, -q_len:], k[b : b + 1, :, start:], v[b : b + 1, :, start:], own, implementation="triton"
        )
        assert torch.equal(alone[0], together[b])


@pytest.mark.parametrize("q_len", [40, 1])
def test_block_ids_outside_the_row_are_refused_and_never_read(q_len):
    # Row 0 is surrounded by NaN; unchecked, a wild list gives some answer from row 0's own tokens.
    q, k, v = random_heads(64, batch=3, head_dim=16)
    k[0] = k[2] = v[0] = v[2] = torch.nan
    attend = block_sparse_decode if q_len == 1 else block_sparse_prefill
    q, k, v = q[1:2, :, -q_len:], k[1:2], v[1:2]
    wild = chosen_of(q_len, 64, [0], 1)
    wild = BlockSelection(wild.indices.clone(), wild.counts, wild.rows)
    wild.indices[..., 0] = 7
    wild.indices[:, :, ::2, 0] = -5
    with pytest.raises(ValueError, match="block id"):
        attend(q, k, v, wild, implementation="triton")
    out, _ = attend(q, k, v, wild, check=False, implementation="triton")
    assert out.isfinite().all()


def test_bfloat16_is_not_implemented_here():
    q, k, v = random_heads(16, head_dim=16, dtype=torch.bfloat16)
    with pytest.raises(NotImplementedError, match="bfloat16"):
        block_sparse_prefill(q, k, v, select_all(query_blocks(16, 16, SIZE)), implementation="triton")
