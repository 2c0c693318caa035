"""Times sparse attention beside every dense path there is, interleaved, in a process of its own.

`python -m assay_inference_optimizer.core.attention_benchmark JSON` prints one JSON document. A process of its own,
because timing takes one thread, and because native code can be stopped only with its process.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

from assay.cancel import CancelToken
from assay.errors import FailedPrecondition, Internal, InvalidInput

if TYPE_CHECKING:
    from assay_inference_optimizer.core.sparse.config import SparseConfig

_POLL_S = 0.1
COLD_BYTES = 32 * 2**20
MAX_NUMBERS = 2**30  # of queries, keys and values together: 4 GiB in float32, and a few times that in all

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchmarkSettings:
    """phase: "prefill" or "decode". length: tokens T. dtype: "float32", "bfloat16" or "float16"."""

    phase: str = "prefill"
    device: str = "cpu"
    length: int = 8192
    batch: int = 1
    query_heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    dtype: str = "float32"
    rounds: int = 3

    def check(self) -> None:
        if self.query_heads % self.kv_heads:
            raise InvalidInput(
                "kv_heads", f"are {self.kv_heads}; query_heads, {self.query_heads}, must be a multiple of them"
            )
        numbers = self.batch * self.length * self.head_dim * (self.query_heads + 2 * self.kv_heads)
        if numbers > MAX_NUMBERS:
            raise InvalidInput(
                "length",
                f"is {self.length}; with batch, heads and head_dim that makes {numbers:,} numbers of queries, keys and "
                f"values, and {MAX_NUMBERS:,} are the most; give less of one of them",
            )


class _Shape:
    """The settings as a model's config, which sparse settings are checked against."""

    num_hidden_layers = 1024

    def __init__(self, settings: BenchmarkSettings) -> None:
        self.num_attention_heads = settings.query_heads
        self.num_key_value_heads = settings.kv_heads
        self.head_dim = settings.head_dim

    def get_text_config(self, decoder: bool) -> _Shape:
        return self


@dataclass(frozen=True)
class Benchmark:
    """Milliseconds are medians over rounds. ratio: of the fastest dense path's time over sparse_ms, round by round.

    sparse_ms: choosing the blocks, and attending to them. density: attended over causal pairs, counted from the
    indices. baseline: the fastest dense path; paths_ms: every one. dense_tflops: of the baseline, causal pairs alone.
    """

    dense_ms: float
    sparse_ms: float
    selection_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    density: float
    baseline: str
    dtype: str
    device: str
    dense_tflops: float
    paths_ms: Mapping[str, float]
    versions: Mapping[str, str]


def run_benchmark(settings: BenchmarkSettings, sparse: SparseConfig, *, cancel: CancelToken) -> Benchmark:
    """In a child process with one thread. InvalidInput, FailedPrecondition (no such device), Cancelled."""
    import torch

    from assay_inference_optimizer.core.sparse.config import Method

    settings.check()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition("device: this machine has no CUDA device; use cpu", reason="NO_SUCH_DEVICE")
    sparse.check(_Shape(settings))
    if sparse.method not in (Method.SKETCH_WALK, Method.ONE_HOP):
        raise InvalidInput(
            "sparse.selection", f"is {sparse.method.value}; only sketch_walk and one_hop are made to be fast"
        )
    ask = json.dumps({"settings": asdict(settings), "sparse": asdict(sparse)})
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, ask],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            cancel.check()
            try:
                printed, complaints = child.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode:
        log.error("the benchmark's process ended with code %d: %s", child.returncode, complaints[-2000:])
        raise Internal(f"the benchmark's process ended with code {child.returncode}; try a shorter length")
    return Benchmark(**json.loads(printed.strip().splitlines()[-1]))


def measure(settings: BenchmarkSettings, sparse: SparseConfig) -> Benchmark:
    """In this process. Every path is checked against the others before it is timed: wrong code has no speed."""
    import torch

    from assay_inference_optimizer.core.sparse.sketch_walk import SketchWalk
    from assay_inference_optimizer.core.sparse.step import Step
    from assay_kernels import block_sparse_decode, block_sparse_prefill, select_blocks
    from assay_kernels.bench import Subject, check_equal, dense_paths, milliseconds

    torch.manual_seed(sparse.seed)
    decoding = settings.phase == "decode"
    kind = getattr(torch, settings.dtype)
    shape = (settings.batch, settings.query_heads, settings.length, settings.head_dim)
    kv_shape = (settings.batch, settings.kv_heads, settings.length, settings.head_dim)
    query = torch.randn(shape).to(settings.device, kind)
    key, value = (torch.randn(kv_shape).to(settings.device, kind) for _ in range(2))
    scaling = settings.head_dim**-0.5
    size = sparse.block_size

    def select(scores: Any) -> Any:
        return select_blocks(
            scores.walked,
            scores.rows,
            density=sparse.target_density,
            sink_blocks=-(-sparse.sink_tokens // size),
            window_blocks=-(-sparse.window_tokens // size),
        )

    attend = block_sparse_decode if decoding else block_sparse_prefill
    # A prompt is read at once. Decoding is timed over the tokens of one block, whose first step alone chooses anew for
    # the queries before it; figures are means over them.
    passes = min(size, settings.length // 2) if decoding else 1
    read = settings.length - passes
    asked = query[:, :, -1:] if decoding else query
    walker = SketchWalk(sparse, rollback_tokens=0)
    if decoding:
        walker.score(Step(query[:, :, :read], key[:, :, :read], None, scaling, decoding=False), None)

    # Between two attentions of a decoding step a model reads all its weights: no path finds its keys in a cache.
    others = torch.zeros(COLD_BYTES // 4) if decoding and settings.device == "cpu" else None

    def time_of(path: Callable[[], object]) -> float:
        if others is not None:
            others.add_(1)
        return milliseconds(path, query.device)

    def choose(state: SketchWalk, step: Step, into: list[Any]) -> None:
        into.append(select(state.score(step, None)))

    def run_sparse() -> tuple[float, float, list[Any]]:
        """Milliseconds a pass of choosing and of attending; the choices."""
        state = copy.deepcopy(walker)
        choosing = attending = 0.0
        chosen: list[Any] = []
        for number in range(passes):
            tokens = read + number + 1 if decoding else settings.length
            own_query = query[:, :, tokens - 1 : tokens] if decoding else query
            own_key, own_value = key[:, :, :tokens], value[:, :, :tokens]
            step = Step(own_query, own_key, None, scaling, decoding=decoding)
            choosing += time_of(partial(choose, state, step, chosen))
            attending += time_of(
                partial(attend, own_query, own_key, own_value, chosen[-1], scaling=scaling, check=False)
            )
        return choosing / passes, attending / passes, chosen

    chosen = run_sparse()[2]
    subject = Subject(asked, key, value, chosen[-1].rows, choose=lambda: chosen[-1])
    dense = dense_paths(subject)
    check_equal(subject, chosen[-1], dense, {})

    times: dict[str, list[float]] = {name: [] for name in (*dense, "selection", "sparse")}
    for _ in range(settings.rounds):
        for name, path in dense.items():
            times[name].append(sum(time_of(path) for _ in range(passes)) / passes)
        choosing, attending, _ = run_sparse()
        times["selection"].append(choosing)
        times["sparse"].append(choosing + attending)
    medians = {name: statistics.median(found) for name, found in times.items()}
    paths = {name: medians[name] for name in dense}
    baseline = min(paths, key=lambda name: paths[name])
    ratios = sorted(theirs / ours for theirs, ours in zip(times[baseline], times["sparse"], strict=True))
    pairs = settings.length if decoding else settings.length * (settings.length + 1) / 2
    operations = 4 * settings.batch * settings.query_heads * settings.head_dim * pairs
    return Benchmark(
        dense_ms=medians[baseline],
        sparse_ms=medians["sparse"],
        selection_ms=medians["selection"],
        ratio=statistics.median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
        density=_density(chosen, asked.shape[2], settings.length, passes),
        baseline=baseline,
        dtype=settings.dtype,
        device=torch.cuda.get_device_name() if settings.device == "cuda" else "cpu, 1 thread",
        dense_tflops=operations / (medians[baseline] * 1e9),
        paths_ms=paths,
        versions={name: metadata.version(name) for name in ("assay-kernels", "torch")},
    )


def _density(chosen: list[Any], queries: int, length: int, passes: int) -> float:
    """Attended over causal pairs, counted from the indices of all passes."""
    from assay_kernels import count_pairs

    attended = causal = 0
    for number, selection in enumerate(chosen):
        pairs = count_pairs(selection, queries, length - passes + number + 1)
        attended, causal = attended + int(pairs[0].sum()), causal + int(pairs[1].sum())
    return attended / causal


def main() -> None:
    ask = json.loads(sys.argv[1])
    settings = BenchmarkSettings(**ask["settings"])
    import torch

    from assay_inference_optimizer.core.sparse.config import DensityScope, Method, SparseConfig, Variant

    torch.set_num_threads(1)
    given = ask["sparse"]
    given |= {
        "variant": Variant(given["variant"]),
        "method": Method(given["method"]),
        "density_scope": DensityScope(given["density_scope"]),
        "layer_densities": tuple(given["layer_densities"]),
    }
    with torch.inference_mode():
        result = measure(settings, replace(SparseConfig(), **given))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main()
