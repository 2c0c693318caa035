"""Options of commands that have traces written, and the texts that come of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from assay.cli.session import CommandSession
from assay.client.connection import Connection
from assay.tom_verifier.v1 import sampling_pb2, stories_pb2, traces_pb2
from assay_tom_verifier.cli.request import OUT, model_digest, stream, stub_of

HOSTED = "hosted:"


@dataclass(frozen=True)
class Drafted:
    """given: None where what was written is no trace; refused: why."""

    given: traces_pb2.GivenTrace | None
    refused: str = ""


def generator_options(function: Any) -> Any:
    for option in reversed(
        (
            click.option(
                "--generator",
                help="Who writes traces: a stored trace generator or language model, a model's directory, or "
                "hosted:NAME, a model at the OpenAI-compatible endpoint of ASSAY_GENERATOR_URL.",
            ),
            click.option("--samples", type=click.IntRange(1, 1024), default=16, show_default=True),
            click.option(
                "--temperature",
                type=click.FloatRange(0),
                help="0, or at least 0.001.  [default: 0.6; 1 for a trace generator]",
            ),
            click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True),
            click.option("--max-tokens", type=click.IntRange(0, 16_384), default=0, help="Of a trace. [default: 2048]"),
            click.option("--written", type=OUT, help="Where to write what the generator wrote, traces or not (JSONL)."),
        )
    ):
        function = option(function)
    return function


def ask_for_traces(
    session: CommandSession,
    connection: Connection,
    generator: str,
    story: str,
    question: stories_pb2.AskedQuestion,
    *,
    samples: int,
    temperature: float | None,
    seed: int,
    max_tokens: int,
    written: Path | None,
) -> list[Drafted]:
    """One a sample, in order; each is written to `written` as it comes."""
    request = sampling_pb2.SampleTracesRequest(
        generator=_generator(session, connection, generator),
        story=story,
        question=question,
        samples=samples,
        temperature=temperature,
        seed=seed,
        max_tokens=max_tokens,
    )
    drafts = []
    with session.progress("writing traces") as progress:
        rows = []
        for reply in stream(stub_of(connection).SampleTraces, request):
            rows.append({"trace": reply.text, "refused": reply.refused, "cut": reply.cut})
            given = traces_pb2.GivenTrace(trace=reply.trace) if reply.HasField("trace") else None
            drafts.append(Drafted(given, reply.refused))
            progress(len(drafts), samples, "traces")
    if written is not None:
        written.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return drafts


def _generator(session: CommandSession, connection: Connection, argument: str) -> sampling_pb2.TraceGenerator:
    if argument.startswith(HOSTED):
        return sampling_pb2.TraceGenerator(hosted=argument.removeprefix(HOSTED))
    if Path(argument).is_dir():
        return sampling_pb2.TraceGenerator(artifact=model_digest(session, connection, argument))
    return sampling_pb2.TraceGenerator(artifact=argument)
