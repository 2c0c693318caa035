"""The Triton kernels, compiled for an H100 and H200 (sm_90) without one: the interpreter takes programs that the
compiler refuses. Arguments are specialised as a launch would: strides of 1 are constants, others multiples of 16."""

import os
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

from assay_kernels.ops import (  # noqa: E402
    block_score,
    block_sparse_decode,
    block_sparse_prefill,
    select_blocks,
    sketch_pool,
    walk,
)

pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
]

FLOATS = {"partial", "partial_lse", "lse", "open_sum", "signs", "sketches", "left", "scores", "keys"}
FLOATS |= {"transitions", "a"}
DOUBLES = {"s", "step"}
INTS = {"indices", "counts", "table", "slots"}
LONGS = {"first", "lengths", "end", "wanted"}
SCALARS = {"scale", "scaling", "share", "damping"}
ONES = {f"stride_{x}" for x in ("qd", "kd", "vd", "od", "in", "d", "qr", "kr", "aj")}
HEADS = {"GROUP": 4, "HEAD_DIM": 128, "D": 128, "SIZE": 64}
PREFILL = {**HEADS, "N": 64, "M": 128, "TILES": 2}
DECODE = {**HEADS, "N": 64, "PER_SPLIT": 8, "M": 16, "PAGED": True}
KERNELS = {
    "prefill": (block_sparse_prefill._prefill_kernel, "bf16", {**PREFILL, "PAGED": False}, 8, 2),
    "prefill of pages": (block_sparse_prefill._prefill_kernel, "bf16", {**PREFILL, "PAGED": True}, 8, 2),
    "decode": (block_sparse_decode._split_kernel, "bf16", DECODE, 4, 3),
    "merge": (block_sparse_decode._merge_kernel, "bf16", {"HEAD_DIM": 128, "D": 128, "MERGE": 16}, 4, 2),
    "pool": (sketch_pool._pool_kernel, "bf16", {"HEAD_DIM": 128, "D": 128, "LOG_D": 7, "SIZE": 64}, 1, 2),
    "score": (block_score._score_kernel, "fp32", {"M": 16, "N": 32, "R": 64, "CAUSAL": True, "BITS": 24}, 4, 2),
    "walk": (walk._step_kernel, "fp32", {"BITS": 24, "K": 64, "N": 32}, 4, 2),
    "select": (select_blocks._select_kernel, "fp32", {"BLOCKS": 2048}, 4, 2),
}


def compiled(kernel, element, constants, num_warps, num_stages):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types, values, attributes = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants or name in ONES:
            types[name], values[(place,)] = "constexpr", constants.get(name, 1)
        elif name in FLOATS:
            types[name] = "*fp32"
        elif name in DOUBLES:
            types[name] = "*fp64"
        elif name in INTS:
            types[name] = "*i32"
        elif name in LONGS:
            types[name] = "*i64"
        elif name in SCALARS:
            types[name] = "fp32"
        elif name in ("q", "k", "v", "out", "x"):
            types[name] = f"*{element}"
        else:
            types[name] = "i64" if name.startswith("stride") else "i32"
        if types[name].startswith("*") or name.startswith(("stride_q", "stride_k", "stride_v", "stride_o")):
            attributes[(place,)] = [["tt.divisibility", 16]]
    attributes = {place: found for place, found in attributes.items() if place not in values}
    source = ASTSource(kernel, signature=types, constexprs=values, attrs=attributes)
    return triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": num_warps, "num_stages": num_stages}
    )


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("name", KERNELS)
def test_compiles_for_sm_90_without_spilling_registers(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = compiled(*KERNELS[name])
    assembly = found.asm["ptx"]
    if name.startswith("prefill"):
        assert "wgmma.mma_async" in assembly  # the tensor cores' asynchronous products
        assert "cp.async" in assembly  # keys and values fetched ahead
    program = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not program.exists():
        pytest.skip("this Triton brings no cuobjdump to read register use with")
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(found.asm["cubin"])
    usage = subprocess.run([program, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in usage, usage
