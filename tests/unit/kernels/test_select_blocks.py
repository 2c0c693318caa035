import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.kernels.parts import as_rows, pair_mask

from assay_kernels import block_budget, count_pairs, density, query_blocks, select_blocks
from assay_kernels.selection import select_all, selection_from_lists


def random_scores(rows, blocks, seed=0, heads=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows.first.shape[0], heads, rows.entries, blocks, generator=generator)


def test_density_asked_is_density_counted():
    # The release's own rule gives 0.341 here.
    rows = query_blocks(8192, 8192, 64)
    chosen = select_blocks(random_scores(rows, 128), rows, density=0.20)
    found = density(chosen, 8192, 8192)
    assert 0.19 <= found <= 0.205
    assert found == pytest.approx(0.20, abs=1e-4)


@pytest.mark.parametrize("asked", [0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.0])
def test_budget_holds_at_other_lengths_and_densities(asked):
    # Three forced blocks a row are 0.09 of 32,768 tokens' first 64 blocks: below that nothing can be saved.
    rows = query_blocks(32768, 32768, 64)
    chosen = select_blocks(torch.zeros(1, 512, 512), rows, density=asked)
    assert density(chosen, 32768, 32768) == pytest.approx(asked, abs=2e-4)


def test_budget_of_a_query_block_does_not_depend_on_the_length():
    assert torch.equal(block_budget(50, 0.2, 64), block_budget(1000, 0.2, 64)[:50])


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.integers(1, 20),
    sink=st.integers(0, 3),
    window=st.integers(0, 3),
    top_k=st.integers(0, 25) | st.none(),
    asked=st.floats(0.01, 1.0),
    seed=st.integers(0, 3),
    levels=st.integers(1, 5),
)
def test_every_list_keeps_its_promises(blocks, sink, window, top_k, asked, seed, levels):
    rows = query_blocks(blocks * 16, blocks * 16, 16)
    scores = (random_scores(rows, blocks, seed) * levels).floor()  # many ties
    how = {"density": asked} if top_k is None else {"top_k": top_k}
    lists = []
    for implementation in ("reference", "cpu"):
        chosen = select_blocks(
            scores, rows, sink_blocks=sink, window_blocks=window, implementation=implementation, **how
        )
        chosen.check()
        lists.append(as_rows(chosen)[0])
    assert lists[0] == lists[1]
    budget = block_budget(blocks, asked, 16, sink_blocks=sink, window_blocks=window)
    for query, (block, found) in enumerate(lists[1]):
        assert block == query
        forced = {j for j in range(query + 1) if j < sink or j >= query - window}
        free = sorted(set(range(query + 1)) - forced, key=lambda j: (-scores[0, 0, query, j].item(), j))
        more = int(budget[query]) - len(forced) if top_k is None else top_k
        assert found == sorted(forced | set(free[: max(0, more)]))


def test_ties_go_to_the_lowest_index():
    rows = query_blocks(10 * 64, 10 * 64, 64)
    chosen = select_blocks(torch.zeros(1, 10, 10), rows, top_k=2, sink_blocks=1, window_blocks=1)
    assert as_rows(chosen)[0][9] == (9, [0, 1, 2, 8, 9])


def test_a_row_is_the_same_alone_and_in_a_batch():
    starts = torch.tensor([0, 100, 700, 250])
    rows = query_blocks(700, 700, 64, starts=starts)
    scores = random_scores(rows, 11)
    together = as_rows(select_blocks(scores, rows, density=0.4))
    for b, start in enumerate(starts.tolist()):
        own = query_blocks(700 - start, 700 - start, 64)
        blocks = -(-(700 - start) // 64)
        alone = select_blocks(scores[b : b + 1, :, : own.entries, : max(1, blocks)], own, density=0.4)
        assert as_rows(alone)[0] == together[b]


@pytest.mark.parametrize(
    ("q_len", "starts"), [(300, [0, 0]), (300, [0, 77]), (100, [5, 250]), (1, [0, 299]), (70, [300, 0])]
)
def test_pairs_are_counted_as_the_mask_has_them(q_len, starts):
    tensor = torch.tensor(starts)
    rows = query_blocks(q_len, 300, 64, starts=tensor)
    chosen = select_blocks(random_scores(rows, 5, heads=2), rows, top_k=1, sink_blocks=0, window_blocks=0)
    attended, causal = count_pairs(chosen, q_len, 300, starts=tensor)
    mask = pair_mask(chosen, q_len, 300, starts)
    every = pair_mask(select_all(rows, heads=2), q_len, 300, starts)
    assert attended.tolist() == mask.sum((1, 2, 3)).tolist()
    assert causal.tolist() == every.sum((1, 2, 3)).tolist()


def test_density_without_a_real_query_is_undefined():
    starts = torch.tensor([64])
    rows = query_blocks(64, 64, 16, starts=starts)
    chosen = select_blocks(torch.zeros(1, rows.entries, 4), rows, density=0.2)
    assert density(chosen, 64, 64, starts=starts) != density(chosen, 64, 64, starts=starts)


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        ([[0], [0, 2]], "outside"),
        ([[0], [-1, 1]], "outside"),
        ([[0], [1, 1]], "ascending"),
        ([[0], [1, 0]], "ascending"),
    ],
)
def test_lists_that_break_the_promise_are_refused(lists, why):
    with pytest.raises(ValueError, match=why):
        selection_from_lists([lists], query_blocks(128, 128, 64))


@pytest.mark.parametrize(
    "how",
    [{"density": 0.0}, {"density": 1.01}, {"density": float("nan")}, {"top_k": -1}, {}, {"top_k": 1, "density": 0.5}],
)
def test_parameters_outside_their_range_are_refused(how):
    rows = query_blocks(128, 128, 64)
    with pytest.raises(ValueError, match=r"density|top_k"):
        select_blocks(torch.zeros(1, 2, 2), rows, **how)
