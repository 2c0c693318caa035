"""Fed in chunks, a text selects what it selects in one go, to the last bit: chunks end where blocks end, and the
rest is carried into the next one."""

import pytest
import torch
from unit.kernels.parts import Layer, random_heads

from assay_kernels import feature_sketch, settled_length

LENGTH = 2100


def fed_in_chunks(q, k, v, chunk, starts=None):
    layer = Layer(feature_sketch(q.shape[3], 8, seed=0))
    outputs, lists, done, arrived = [], [[] for _ in range(q.shape[0])], 0, 0
    while done < q.shape[2]:
        arrived = min(arrived + chunk, q.shape[2])
        end = arrived if arrived == q.shape[2] else settled_length(arrived, layer.block_size)
        if end == done:
            continue
        heads = (x[:, :, :end] for x in (q, k, v))
        out, chosen = layer.feed(*heads, end - done, starts)
        outputs.append(out)
        for row, new in zip(lists, chosen, strict=True):
            row += new
        done = end
    return torch.cat(outputs, dim=2), lists


@pytest.mark.parametrize("chunk", [64, 192, 1000, 37])
def test_lists_are_identical(chunk):
    q, k, v = random_heads(LENGTH)
    whole, lists = fed_in_chunks(q, k, v, LENGTH)
    out, chunked = fed_in_chunks(q, k, v, chunk)
    assert chunked == lists
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-6)


def test_lists_are_identical_for_rows_that_start_alike():
    q, k, v = random_heads(1000, batch=2)
    starts = torch.tensor([128, 64])
    whole, lists = fed_in_chunks(q, k, v, 1000, starts)
    out, chunked = fed_in_chunks(q, k, v, 192, starts)
    assert chunked == lists
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-6)


def test_a_block_fed_in_two_pieces_ends_with_the_list_it_has_in_one():
    # Not carried: the first 40 of a block's queries are answered before the others are known, and the block's list is
    # that of all its queries once the last is.
    q, k, v = random_heads(640)
    _, lists = fed_in_chunks(q, k, v, 640)
    layer = Layer(feature_sketch(32, 8, seed=0))
    last = []
    for end in (360, 640):
        heads = (x[:, :, :end] for x in (q, k, v))
        _, (row,) = layer.feed(*heads, end - (0 if end == 360 else 360))
        last.append(dict(row))
    assert {**last[0], **last[1]} == dict(lists[0])


def test_what_comes_later_changes_nothing():
    q, k, v = random_heads(1024)
    _, before = fed_in_chunks(q, k, v, 1024)
    for x in (q, k, v):
        x[:, :, 640:] = 7.0
    _, after = fed_in_chunks(q, k, v, 1024)
    assert after[0][:10] == before[0][:10]
