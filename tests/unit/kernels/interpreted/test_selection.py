"""sketch_pool, block_score and select_blocks in Triton, against the CPU path."""

import pytest
import torch
from unit.kernels.parts import Layer, as_rows, random_heads

from assay_kernels import block_score, extend_blocks, feature_sketch, query_blocks, select_blocks, sketch_pool, walk
from assay_kernels.exact import GRID_BITS, round_to_grid

SIZE = 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("head_dim", "sketch_dim"), [(24, 5), (16, 16)])
def test_sketches_are_bit_equal_to_the_cpu_path(head_dim, sketch_dim, dtype):
    # Both add tokens in order and run the same butterflies.
    q, _, _ = random_heads(75, batch=3, query_heads=2, kv_heads=2, head_dim=head_dim, dtype=dtype)
    sketch = feature_sketch(head_dim, sketch_dim, seed=0)
    starts = torch.tensor([0, 9, 75])
    for cut in (0, 20, 32):
        found = {}
        for implementation in ("cpu", "triton"):
            how = {"block_size": SIZE, "starts": starts, "implementation": implementation}
            head = sketch_pool(q[:, :, :cut], sketch, k_len=cut, **how)
            tail = sketch_pool(q[:, :, cut:], sketch, k_len=75, open_sum=head.open_sum, **how)
            found[implementation] = extend_blocks(extend_blocks(None, head), tail), tail.open_sum
        for cpu, triton in zip(*found.values(), strict=True):
            assert torch.equal(cpu, triton)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sketch_dim", [5, 32])
def test_scores(sketch_dim, causal):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 20, sketch_dim, generator=generator)
    k = torch.randn(2, 2, 40, sketch_dim, generator=generator)
    rows = query_blocks(20 * SIZE, 40 * SIZE, SIZE, starts=torch.tensor([0, 22 * SIZE]))
    how = {"scaling": 0.3, "causal": causal}
    q = q if rows.entries == 20 else torch.cat([q, q[:, :, :1]], 2)
    cpu, triton = (block_score(q, k, rows, implementation=name, **how) for name in ("cpu", "triton"))
    torch.testing.assert_close(triton, cpu, rtol=0, atol=4e-7)


def test_rows_of_scores_are_the_same_however_they_are_asked_for():
    # To a unit of the grid: NumPy's product, which the interpreter uses, depends on where in its tile a row lies.
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 40, 8, generator=generator), torch.randn(1, 2, 40, 8, generator=generator)
    how = {"scaling": 0.3, "implementation": "triton"}
    whole = block_score(q, k, query_blocks(40 * SIZE, 40 * SIZE, SIZE), **how)
    part = block_score(q[:, :, 17:30], k[:, :, :30], query_blocks(13 * SIZE, 30 * SIZE, SIZE), **how)
    torch.testing.assert_close(part[0], whole[0, 17:30, :30], rtol=0, atol=2**-24)


@pytest.mark.parametrize("how", [{"top_k": 0}, {"top_k": 3}, {"top_k": 50}, {"density": 0.3}])
def test_lists_are_those_of_the_reference(how):
    # Five levels of scores, one of them -0: ties everywhere.
    generator = torch.Generator().manual_seed(0)
    rows = query_blocks(5 * SIZE, 21 * SIZE, SIZE, starts=torch.tensor([0, 261, 336]))
    scores = torch.randint(-2, 3, (3, 2, rows.entries, 21), generator=generator).float()
    scores[scores == 0] = torch.tensor([0.0, -0.0]).repeat(scores.numel())[: int((scores == 0).sum())]
    chosen = [select_blocks(scores, rows, implementation=name, **how) for name in ("reference", "triton")]
    chosen[1].check()
    assert as_rows(chosen[0]) == as_rows(chosen[1])


def test_a_step_of_the_walk_is_bit_equal_to_the_cpu_path():
    a = torch.rand(2, 70, 70, generator=torch.Generator().manual_seed(0)).double().tril(-1)
    a[:, 0, 0] = 1
    a = round_to_grid(a / a.sum(-1, keepdim=True), GRID_BITS).float()
    part = a[:, 60:63]
    for state in (None, a[:, 40:43]):
        cpu, triton = (walk(part, a, state, damping=0.25, degree=3, implementation=name) for name in ("cpu", "triton"))
        assert torch.equal(cpu, triton)


def test_a_layer_selects_what_the_cpu_path_selects():
    q, k, v = random_heads(150, query_heads=4, kv_heads=2, head_dim=16)
    found = []
    for implementation in ("cpu", "triton"):
        layer = Layer(feature_sketch(16, 8, seed=0), block_size=SIZE, implementation=implementation)
        found.append(layer.feed(q, k, v, 150))
    assert found[0][1] == found[1][1]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=2e-6)
