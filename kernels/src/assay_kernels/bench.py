"""Times sparse attention, choosing its blocks included, beside every dense path there is, in turn.

    python -m assay_kernels.bench '{"length": 8192, "density": 0.2}'

A ratio counts only against the fastest dense path of the same run, so all are timed: PyTorch's attention in each form
that the device offers, plain matrix products, and our own kernel told to attend to everything.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from assay_kernels.ops.block_score import block_score
from assay_kernels.ops.block_sparse_decode import block_sparse_decode
from assay_kernels.ops.block_sparse_prefill import block_sparse_prefill
from assay_kernels.ops.select_blocks import select_blocks
from assay_kernels.ops.sketch_pool import extend_blocks, feature_sketch, sketch_pool
from assay_kernels.ops.walk import walk
from assay_kernels.query_blocks import QueryBlocks, query_blocks
from assay_kernels.selection import BlockSelection, density, select_all

Path = Callable[[], Tensor]
DAMPING, DEGREE = 0.25, 3
# Query rows that the plain product works on at a time, so that its scores stay small.
ROWS = 512
# How long a path runs in one turn, by repetition, so that a clock can tell.
TURN_MS = 20.0


@dataclass(frozen=True)
class Subject:
    """Random q, k, v, and what is kept from the tokens before q: for decoding, all of them."""

    q: Tensor
    k: Tensor
    v: Tensor
    rows: QueryBlocks
    choose: Callable[[], BlockSelection]
    """Chooses the blocks, from pooling on: what has to be done for every layer and call."""

    @property
    def decoding(self) -> bool:
        return self.q.shape[2] == 1

    def attend(self, selection: BlockSelection) -> Tensor:
        op = block_sparse_decode if self.decoding else block_sparse_prefill
        return op(self.q, self.k, self.v, selection, check=False)[0]


def bench_attention(
    device: str = "cpu",
    length: int = 8192,
    density: float = 0.2,
    *,
    phase: str = "prefill",
    batch: int = 1,
    query_heads: int = 8,
    kv_heads: int = 2,
    head_dim: int = 64,
    dtype: str = "float32",
    block_size: int = 64,
    sketch_dim: int | None = None,
    rounds: int = 5,
    seed: int = 0,
    rivals: Mapping[str, Callable[[Subject, BlockSelection], Path]] | None = None,
) -> dict[str, Any]:
    """Milliseconds, medians over rounds in which every path has its turn; on the threads torch is set to.

    phase: "prefill" (length queries) or "decode" (one, after length - 1 others). Returns dense_ms (of `baseline`, the
    fastest dense path), sparse_ms (choosing the blocks, and attending), selection_ms, ratio (median of baseline over
    sparse, round by round) with ratio_low and ratio_high, density (attended over causal pairs, counted from the
    indices), dense_tflops (of the baseline, causal pairs alone), paths_ms, and what was asked. rivals: further sparse
    paths made from the same blocks, timed in the same rounds (rivals_ms). Every path is compared with the others
    before it is timed. Raises ValueError for parameters that do not fit and RuntimeError where outputs differ.
    """
    if phase not in ("prefill", "decode"):
        raise ValueError(f"phase: {phase!r} is neither prefill nor decode")
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"dtype: {dtype!r} is none of float32, float16, bfloat16")
    if min(length, batch, kv_heads, head_dim, rounds) < 1 or query_heads % kv_heads:
        raise ValueError(
            "length, batch, kv_heads, head_dim, rounds: 1 or more each; query_heads a multiple of kv_heads"
        )
    with torch.inference_mode():
        subject = make_subject(
            (batch, query_heads, kv_heads, length, head_dim),
            torch.device(device),
            getattr(torch, dtype),
            density=density,
            decoding=phase == "decode",
            block_size=block_size,
            sketch_dim=sketch_dim,
            seed=seed,
        )
        selection = subject.choose()
        dense = dense_paths(subject)
        others = {name: make(subject, selection) for name, make in (rivals or {}).items()}
        check_equal(subject, selection, dense, others)
        times = _interleaved(subject, {**dense, **others}, rounds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    baseline = min(dense, key=lambda name: medians[name])
    ratios = sorted(theirs / ours for theirs, ours in zip(times[baseline], times["sparse"], strict=True))
    pairs = length if phase == "decode" else length * (length + 1) / 2
    return {
        "phase": phase,
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "length": length,
        "batch": batch,
        "query_heads": query_heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "block_size": block_size,
        "dtype": dtype,
        "dense_ms": medians[baseline],
        "sparse_ms": medians["sparse"],
        "selection_ms": medians["selection"],
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "density": _density(selection, subject),
        "baseline": baseline,
        "dense_tflops": 4 * batch * query_heads * head_dim * pairs / (medians[baseline] * 1e9),
        "paths_ms": {name: medians[name] for name in dense},
        "rivals_ms": {name: medians[name] for name in others},
    }


def _density(selection: BlockSelection, subject: Subject) -> float:
    return density(selection, subject.q.shape[2], subject.k.shape[2])


def make_subject(
    shape: tuple[int, int, int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    *,
    density: float,
    decoding: bool,
    block_size: int,
    sketch_dim: int | None,
    seed: int,
) -> Subject:
    """shape: batch, query_heads, kv_heads, length, head_dim."""
    batch, query_heads, kv_heads, length, head_dim = shape
    generator = torch.Generator(device).manual_seed(seed)
    q, k, v = (
        torch.randn((batch, heads, length, head_dim), generator=generator, device=device, dtype=dtype)
        for heads in (query_heads, kv_heads, kv_heads)
    )
    scaling = head_dim**-0.5
    sketch = feature_sketch(head_dim, sketch_dim, seed=seed, device=device)
    every = query_blocks(length, length, block_size, batch=batch, device=device)

    def pooled(x: Tensor) -> Tensor:
        return sketch_pool(x, sketch, block_size=block_size).sketches

    def select(scores: Tensor, rows: QueryBlocks) -> BlockSelection:
        return select_blocks(scores, rows, density=density)

    if not decoding:

        def choose() -> BlockSelection:
            one_hop = block_score(pooled(q), pooled(k), every, scaling=scaling)
            return select(walk(one_hop, one_hop, damping=DAMPING, degree=DEGREE), every)

        return Subject(q, k, v, every, choose)

    before = sketch_pool(k[:, :, :-1], sketch, block_size=block_size)
    keys = extend_blocks(None, before)
    a = block_score(pooled(q), pooled(k), every, scaling=scaling)
    last = query_blocks(1, length, block_size, batch=batch, device=device)

    def choose_next() -> BlockSelection:
        # The newest key goes into the open block, the newest query scores the blocks before it.
        new = sketch_pool(k[:, :, -1:], sketch, block_size=block_size, k_len=length, open_sum=before.open_sum)
        stored = keys if keys.shape[2] == a.shape[2] else F.pad(keys, (0, 0, 0, 1))
        stored[:, :, -1:] = new.sketches
        query = sketch_pool(q[:, :, -1:], sketch, block_size=block_size).sketches
        one_hop = block_score(query, stored, last, scaling=scaling)
        return select(walk(one_hop, a, damping=DAMPING, degree=DEGREE), last)

    return Subject(q[:, :, -1:], k, v, last, choose_next)


def dense_paths(subject: Subject) -> dict[str, Path]:
    """name -> dense attention of the subject."""
    q, k, v = subject.q, subject.k, subject.v
    group = q.shape[1] // k.shape[1]
    every = select_all(subject.rows)
    found: dict[str, Path] = {}
    if q.is_cuda:
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
            path = partial(_sdpa_on, backend, partial(_sdpa, subject, group if subject.decoding else 1))
            try:
                path()
            except RuntimeError:
                continue  # this backend does not take these inputs on this device
            found[f"sdpa {backend.name.lower()}"] = path
    elif subject.decoding:
        found["sdpa, heads packed"] = partial(_sdpa, subject, group)
        found["sdpa, grouped"] = partial(_sdpa, subject, 1)
    else:
        repeated = replace(subject, k=k.repeat_interleave(group, 1), v=v.repeat_interleave(group, 1))
        found["sdpa, grouped"] = partial(_sdpa, subject, 1)
        found["sdpa, keys repeated beforehand"] = partial(_sdpa, repeated, 1)
    if not q.is_cuda or q.shape[0] * q.shape[1] * min(ROWS, q.shape[2]) * k.shape[2] * 4 < 2**33:
        found["bmm"] = partial(plain_products, q, k, v)
    found["ours at density 1"] = partial(subject.attend, every)
    return found


def _sdpa(subject: Subject, packed: int) -> Tensor:
    """PyTorch's attention; packed: heads that share a key head and become rows of one product, for a single query."""
    q, k, v = subject.q, subject.k, subject.v
    if packed > 1:
        rows = q.unflatten(1, (k.shape[1], packed)).squeeze(3)
        return F.scaled_dot_product_attention(rows, k, v).flatten(1, 2)[:, :, None]
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=not subject.decoding, enable_gqa=grouped)


def _sdpa_on(backend: SDPBackend, path: Path) -> Tensor:
    with sdpa_kernel(backend):
        return path()


def plain_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v by matrix products, heads packed into rows, no key behind a slice of rows read."""
    heads, group = k.shape[1], q.shape[1] // k.shape[1]
    queries, tokens = q.shape[2], k.shape[2]
    out = torch.empty_like(q)
    packed, written = q.unflatten(1, (heads, group)), out.unflatten(1, (heads, group))
    for low in range(0, queries, ROWS):
        high = min(low + ROWS, queries)
        seen = tokens - queries + high
        logits = packed[:, :, :, low:high].flatten(2, 3) @ k[:, :, :seen].transpose(2, 3)
        logits = logits.mul_(q.shape[3] ** -0.5).unflatten(2, (group, high - low))
        later = torch.ones(high - low, high - low, dtype=torch.bool, device=q.device).triu(1)
        logits[..., seen - (high - low) :].masked_fill_(later, -math.inf)
        weights = torch.softmax(logits, dim=-1).flatten(2, 3)
        written[:, :, :, low:high] = (weights @ v[:, :, :seen]).unflatten(2, (group, high - low))
    return out


def check_equal(
    subject: Subject, selection: BlockSelection, dense: Mapping[str, Path], others: Mapping[str, Path]
) -> None:
    """Dense paths agree with each other, sparse ones with plain attention under the mask of the last query block."""
    tolerance = 1e-4 if subject.q.dtype is torch.float32 else 5e-2
    first, *rest = ((name, path()) for name, path in dense.items())
    for name, out in rest:
        _differ(name, out, first[0], first[1], tolerance)
    size, length = selection.block_size, subject.k.shape[2]
    last = min(subject.q.shape[2], (length - 1) % size + 1)
    mask = torch.zeros((subject.q.shape[0], 1, last, length), dtype=torch.bool, device=subject.q.device)
    for b in range(mask.shape[0]):
        for block in selection.indices[b, 0, -1, : int(selection.counts[b, 0, -1])].tolist():
            mask[b, :, :, block * size : (block + 1) * size] = True
    mask &= torch.ones((last, length), dtype=torch.bool, device=mask.device).tril(length - last)
    q, k, v = (x.float() for x in (subject.q[:, :, -last:], subject.k, subject.v))
    group = q.shape[1] // k.shape[1]
    exact = F.scaled_dot_product_attention(
        q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), attn_mask=mask
    )
    for name, out in (("ours", subject.attend(selection)), *((name, path()) for name, path in others.items())):
        _differ(name, out[:, :, -last:], "masked attention", exact, tolerance)


def _differ(name: str, out: Tensor, against: str, exact: Tensor, tolerance: float) -> None:
    difference = float((out.float() - exact.float()).abs().max())
    if not difference <= tolerance:
        raise RuntimeError(f"{name} differs by {difference} from {against}; wrong code has no speed")


def _interleaved(subject: Subject, paths: Mapping[str, Path], rounds: int) -> dict[str, list[float]]:
    """name -> milliseconds, one a round; "selection" and "sparse", which includes it, among them."""
    device = subject.q.device
    every: dict[str, Callable[[], object]] = {
        **paths,
        "selection": subject.choose,
        "sparse": lambda: subject.attend(subject.choose()),
    }
    if device.type == "cuda":
        every = {name: _as_graph(run) for name, run in every.items()}
    repeats = {name: max(1, min(200, round(TURN_MS / milliseconds(run, device)))) for name, run in every.items()}
    times: dict[str, list[float]] = {name: [] for name in every}
    names = list(every)
    for number in range(rounds):
        # Each round starts with another path, so that none always follows the same one.
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(milliseconds(every[name], device, repeats[name]))
    return times


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Of one run among `repeats`, the device's work included.

    On one CPU thread, the processor's time: it is the time on an idle machine, and other processes do not add to it.
    """
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / repeats
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begun = clock()
    for _ in range(repeats):
        run()
    return 1e3 * (clock() - begun) / repeats


def _as_graph(run: Callable[[], object]) -> Callable[[], object]:
    """The run as one CUDA graph, so that what is timed is the GPU and not the launches; as it is where that fails."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        torch.cuda.synchronize()
        return run
    return graph.replay


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(bench_attention(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))) + "\n")
