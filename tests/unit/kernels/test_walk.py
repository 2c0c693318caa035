import pytest
import torch

from assay_kernels import walk
from assay_kernels.exact import GRID_BITS, round_to_grid


def transitions(blocks, batch=1, seed=0):
    """Lower triangular rows of weight 1, on the grid that block_score leaves them on."""
    scores = torch.rand(batch, blocks, blocks, generator=torch.Generator().manual_seed(seed)).double()
    scores = scores * torch.ones(blocks, blocks, dtype=torch.float64).tril(-1)
    scores[:, 0, 0] = 1
    return round_to_grid(scores / scores.sum(-1, keepdim=True), GRID_BITS).float()


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
def test_three_steps_are_the_closed_form(implementation):
    # R = (1 - b)(A + b A^2 + b^2 A^3) + b^3 S_0 A^3; without a state S_0 = A.
    a, state, b = transitions(40), transitions(40, seed=1), 0.25
    wide, start = a.double(), state.double()
    series = (1 - b) * (wide + b * wide @ wide + b**2 * wide @ wide @ wide)
    carried = series + b**3 * start @ wide @ wide @ wide
    found = walk(a, a, state, damping=b, degree=3, implementation=implementation)
    torch.testing.assert_close(found.double(), carried, rtol=0, atol=3e-7)
    alone = walk(a, a, damping=b, degree=3, implementation=implementation)
    torch.testing.assert_close(alone.double(), series + b**3 * wide @ wide @ wide @ wide, rtol=0, atol=3e-7)


def test_two_hops_reach_what_one_hop_does_not():
    # Block 3 looks at 2 alone, 2 at 1 alone: the weight of 1 in row 3 is (1 - b) b + (rest reaches 0).
    a = torch.zeros(1, 4, 4)
    a[0, 0, 0] = a[0, 1, 0] = a[0, 2, 1] = a[0, 3, 2] = 1
    assert walk(a, a, damping=0.25, degree=0)[0, 3, 1] == 0
    assert walk(a, a, damping=0.25, degree=3)[0, 3, 1] == pytest.approx(0.75 * 0.25)


def test_degree_0_is_one_hop_whatever_was_carried():
    a = transitions(10)
    assert torch.equal(walk(a, a, transitions(10, seed=1), damping=0.25, degree=0), a)


def test_weight_is_kept():
    a = transitions(300)
    found = walk(a, a, transitions(300, seed=1), damping=0.25, degree=3)
    # Rounded to 2^-24 in each of 300 places, here and in A.
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 300), rtol=0, atol=600 * 2**-24)


@pytest.mark.parametrize(("low", "high"), [(0, 7), (7, 8), (8, 150)])
def test_rows_are_bit_equal_however_they_are_asked_for(low, high):
    a, state = transitions(150, batch=2), transitions(150, batch=2, seed=1)
    whole = walk(a, a, state, damping=0.25, degree=3)
    for b in range(2):
        part = slice(b, b + 1), slice(low, high), slice(0, high)
        found = walk(a[part], a[b : b + 1, :high, :high], state[part], damping=0.25, degree=3)
        assert torch.equal(found, whole[part])


@pytest.mark.parametrize(("damping", "degree"), [(1.0, 3), (-0.1, 3), (float("nan"), 3), (0.25, -1)])
def test_parameters_outside_their_range_are_refused(damping, degree):
    a = transitions(4)
    with pytest.raises(ValueError, match=r"damping|degree"):
        walk(a, a, damping=damping, degree=degree)
