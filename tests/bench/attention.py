"""Sparse attention against the fastest dense path and compiled FlexAttention, choosing the blocks included.

    PYTHONPATH=tests python -m bench.attention [--device cpu|cuda] [--rounds 7] [--out FILE]

On a CPU, one thread: prefill of 8,192 tokens at density 0.2, with the density that 6x would take; decoding; and the
prefill of a whole model, whose weights are random (speed needs no others). On a GPU: correctness against float32
first, then prefill at 32k to 128k and decoding at 128k in bfloat16. Paths take turns in one process; a ratio is the
median over rounds of baseline over ours, in brackets the least and the most.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from assay_kernels import BlockSelection
from assay_kernels.bench import Subject, bench_attention, check_equal, dense_paths, make_subject
from bench.attention_parts.surroundings import surroundings
from bench.attention_parts.whole_model import prefill_of_a_model

CPU = {"query_heads": 8, "kv_heads": 2}
GPU = {"query_heads": 32, "kv_heads": 8, "head_dim": 128, "dtype": "bfloat16", "device": "cuda"}
# phase, length, batch -> the least ratio; the table for an H200.
GPU_BARS = {
    ("prefill", 32768, 1): 2.2,
    ("prefill", 65536, 1): 2.8,
    ("prefill", 131072, 1): 3.0,
    ("decode", 131072, 1): 3.0,
    ("decode", 131072, 8): 3.5,
}
CPU_BAR = 2.5
FLEX_BAR = 1.2
SELECTION_BAR = 0.1
WANTED = 6.0
DENSITIES = (0.2, 0.15, 0.1, 0.05)


def main(device: str, rounds: int, length: int, out: Path | None, flex: bool, model: bool) -> bool:
    """Prints the tables; says whether every bar was met."""
    torch.set_num_threads(1)
    where = surroundings()
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    if device == "cuda" and not torch.cuda.is_available():
        print("not measured: there is no CUDA device here")
        return False
    why_not = None if flex else "left out"
    if flex and device == "cpu" and not shutil.which("g++"):
        why_not = "needs g++ to compile for a CPU"
    if why_not:
        print(f"FlexAttention: not measured, {why_not}")
    rivals = {} if why_not else {"flex": compiled_flex}
    result = on_gpu(rounds, rivals) if device == "cuda" else on_cpu(rounds, length, rivals, model)
    document = {"bench": "attention", **where, **result}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n")
    print(json.dumps({"bench": "attention", **where, "bars": result["bars"]}))
    return all(bar["met"] for bar in result["bars"])


def on_cpu(rounds: int, length: int, rivals: dict[str, Any], model: bool) -> dict[str, Any]:
    rows, bars = [], []
    for head_dim in (64, 128):
        row = bench_attention("cpu", length, 0.2, head_dim=head_dim, rounds=rounds, rivals=rivals, **CPU)
        rows.append(row)
        show(row)
        bars += bars_of(row, CPU_BAR)
    row = bench_attention("cpu", length, 0.2, dtype="bfloat16", rounds=rounds, **CPU)
    rows.append(row)
    show(row)
    curve = density_curve(length, rounds)
    for phase_length in (length, 4 * length):
        row = bench_attention("cpu", phase_length, 0.2, phase="decode", rounds=rounds, **CPU)
        rows.append(row)
        show(row)
    whole = prefill_of_a_model(length, rounds=max(1, rounds // 2)) if model else None
    if whole is not None:
        print(
            f"prefill of a model, {whole['layers']} layers, width {whole['width']}: dense {whole['dense_ms']:.0f} ms, "
            f"sparse {whole['sparse_ms']:.0f} ms, {whole['ratio']:.2f}x, density {whole['density']:.3f} "
            f"(attention is {whole['attention_share']:.0%} of the dense time)"
        )
    return {"rows": rows, "curve": curve, "model": whole, "bars": bars}


def on_gpu(rounds: int, rivals: dict[str, Any]) -> dict[str, Any]:
    errors = check_on_gpu()
    rows, bars = [], []
    for (phase, length, batch), least in GPU_BARS.items():
        prefill = phase == "prefill"
        row = bench_attention(
            length=length, density=0.2, phase=phase, batch=batch, rounds=rounds, rivals=rivals if prefill else {}, **GPU
        )
        rows.append(row)
        show(row)
        bars += bars_of(row, least)
        if prefill:
            share = row["selection_ms"] / row["sparse_ms"]
            bars.append(bar(f"choosing / sparse time, {label(row)}", share, SELECTION_BAR, share <= SELECTION_BAR))
    return {"errors": errors, "rows": rows, "bars": bars}


def check_on_gpu() -> list[dict[str, Any]]:
    """Every op in Triton beside its float32 reference, at a size the reference can take. Raises where they differ."""
    found = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for decoding in (False, True):
            subject = make_subject(
                (2, 8, 2, 777, 128),
                torch.device("cuda"),
                dtype,
                density=0.4,
                decoding=decoding,
                block_size=64,
                sketch_dim=32,
                seed=0,
            )
            selection = subject.choose()
            selection.check()
            with torch.inference_mode():
                check_equal(subject, selection, dense_paths(subject), {})
            found.append({"dtype": str(dtype).removeprefix("torch."), "decoding": decoding, "agrees": True})
    print("Triton agrees with masked float32 attention on this device:", ", ".join(str(row["dtype"]) for row in found))
    return found


def density_curve(length: int, rounds: int) -> dict[str, Any]:
    """Ratio by density, and the density at which WANTED would be reached: time is close to linear in density."""
    rows = [bench_attention("cpu", length, density, rounds=rounds, **CPU) for density in DENSITIES]
    print("density: " + ", ".join(f"{row['density']:.3f} {row['ratio']:.2f}x" for row in rows))
    points = sorted((row["density"], 1 / row["ratio"]) for row in rows)
    reached = at(points, 1 / WANTED)
    print(
        f"{WANTED:.0f}x would be reached at density {reached:.3f}"
        if reached is not None
        else f"{WANTED:.0f}x lies outside the densities measured"
    )
    return {"points": [{"density": row["density"], "ratio": row["ratio"]} for row in rows], "six_times_at": reached}


def at(points: list[tuple[float, float]], wanted: float) -> float | None:
    """Where the line through the points, by least squares, has the value; None outside of them."""
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    place = (wanted - intercept) / slope
    return place if points[0][0] <= place <= points[-1][0] else None


def compiled_flex(subject: Subject, selection: BlockSelection) -> Callable[[], Tensor]:
    """FlexAttention, compiled, over the same blocks: the query block itself masked, the others marked as full."""
    mask = block_mask(selection, subject.k.shape[2])
    attend = torch.compile(flex_attention, dynamic=False)
    run = partial(attend, subject.q, subject.k, subject.v, block_mask=mask, enable_gqa=True)
    run()
    return run


def block_mask(selection: BlockSelection, k_len: int) -> BlockMask:
    """Its lists have the full count of key blocks as room, and one head for all."""
    own = selection.rows.ids()[:, None].to(torch.int32)
    capacity = -(-k_len // selection.block_size)
    room = selection.indices.new_zeros((*selection.counts.shape, capacity))
    before = room.clone()
    before[..., : selection.indices.shape[3]] = selection.indices
    itself = room.clone()
    itself[..., 0] = own
    return BlockMask.from_kv_blocks(
        torch.ones_like(selection.counts),
        itself,
        selection.counts - 1,
        before,
        BLOCK_SIZE=selection.block_size,
        mask_mod=causal,
        seq_lengths=(k_len, k_len),
    )


def causal(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


def label(row: dict[str, Any]) -> str:
    return f"{row['phase']} {row['length']} x{row['batch']} d={row['head_dim']} {row['dtype']}"


def show(row: dict[str, Any]) -> None:
    share = row["selection_ms"] / row["sparse_ms"]
    print(
        f"{label(row)}, density {row['density']:.4f}: {row['ratio']:.2f}x [{row['ratio_low']:.2f}, "
        f"{row['ratio_high']:.2f}] of {row['baseline']} ({row['dense_ms']:.2f} ms, {row['dense_tflops']:.3g} TFLOP/s); "
        f"ours {row['sparse_ms']:.2f} ms, choosing {row['selection_ms']:.2f} ms ({share:.0%})"
    )
    others = {**row["paths_ms"], **{f"{name}, same blocks": ms for name, ms in row["rivals_ms"].items()}}
    print("    " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in others.items()))


def bars_of(row: dict[str, Any], least: float) -> list[dict[str, Any]]:
    found = [bar(f"fastest dense / ours, {label(row)}", row["ratio"], least, row["ratio"] >= least)]
    if "flex" in row["rivals_ms"]:
        # Both have to choose the blocks first.
        ratio = (row["rivals_ms"]["flex"] + row["selection_ms"]) / row["sparse_ms"]
        found.append(bar(f"flex / ours, {label(row)}", ratio, FLEX_BAR, ratio >= FLEX_BAR))
    return found


def bar(name: str, value: float, least: float, met: bool) -> dict[str, Any]:
    print(f"    {'met' if met else 'MISSED'}: {name}: {value:.2f} (bar {least})")
    return {"name": name, "value": value, "bar": least, "met": met}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--length", type=int, default=8192, help="tokens, on a CPU")
    parser.add_argument("--out", type=Path, help="also write every figure there, as JSON")
    parser.add_argument("--no-flex", action="store_true", help="do not compile FlexAttention (about a minute a shape)")
    parser.add_argument("--no-model", action="store_true", help="leave out the prefill of a whole model")
    asked = parser.parse_args()
    met = main(asked.device, asked.rounds, asked.length, asked.out, not asked.no_flex, not asked.no_model)
    sys.exit(0 if met else 1)
