"""`bench`: sparse attention beside the fastest dense path."""

from __future__ import annotations

import uuid
from typing import Any

import click

from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.cli.group import SERVICE, inference_optimizer
from assay_inference_optimizer.cli.request import density_option, document_of, run, sparse_config, sparse_options


@inference_optimizer.group("bench")
def bench() -> None:
    """Times sparse attention beside the fastest dense path, selection included, in one interleaved run."""


def _bench_options(function: Any) -> Any:
    for option in (
        click.option("--rounds", type=int, default=0, help="Interleaved rounds; medians are printed.  [default: 3]"),
        click.option(
            "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="[default: float32 on cpu]"
        ),
        click.option("--head-dim", type=int, default=0, help="[default: 64 on cpu, 128 on cuda]"),
        click.option("--kv-heads", type=int, default=0, help="[default: 2 on cpu, 8 on cuda]"),
        click.option("--query-heads", type=int, default=0, help="[default: 8 on cpu, 32 on cuda]"),
        click.option("--batch", type=int, default=0, help="[default: 1]"),
        click.option("--length", type=int, default=0, help="Tokens.  [default: 8192]"),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: the best there is]"),
    ):
        function = option(function)
    return function


@command(bench, "attention", service=SERVICE)
@_bench_options
@density_option()
@sparse_options
def bench_attention(session: CommandSession, **options: Any) -> None:
    """Prefill: every token attends."""
    _bench(session, api.ATTENTION_PHASE_PREFILL, options)


@command(bench, "decode", service=SERVICE)
@_bench_options
@density_option()
@sparse_options
def bench_decode(session: CommandSession, **options: Any) -> None:
    """Decoding: one token attends to all before it."""
    _bench(session, api.ATTENTION_PHASE_DECODE, options)


def _bench(session: CommandSession, phase: api.AttentionPhase, options: dict[str, Any]) -> None:
    request = api.BenchmarkAttentionRequest(
        request_id=str(uuid.uuid4()),
        phase=phase,
        device=options["device"] or "",
        dtype=options["dtype"] or "",
        sparse=sparse_config(options),
        **{name: options[name] for name in ("length", "batch", "query_heads", "kv_heads", "head_dim", "rounds")},
    )
    with session.connection() as connection:
        result = run(session, connection, "BenchmarkAttention", request, api.BenchmarkAttentionResult, "timing")
    document = document_of(result)
    document["phase"] = "decode" if phase == api.ATTENTION_PHASE_DECODE else "prefill"

    def human() -> None:
        print_table(
            ("path", "ms"),
            [
                *((name, f"{ms:.2f}") for name, ms in sorted(result.paths_ms.items(), key=lambda one: one[1])),
                ("sparse, selection included", f"{result.sparse_ms:.2f}"),
                ("selection alone", f"{result.selection_ms:.2f}"),
            ],
            right=("ms",),
        )
        click.echo(
            f"{result.ratio:.2f}x [{result.ratio_low:.2f}, {result.ratio_high:.2f}] against {result.baseline} "
            f"({result.dense_tflops:.2f} TFLOP/s), {result.length:,} tokens, density {result.density:.3f}, "
            f"{result.dtype}, {result.device}, medians of {result.rounds} rounds"
        )

    session.emit(document, human)
