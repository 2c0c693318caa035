"""`score`, `select`, `train`: the process belief model, and what it selects."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from assay.cli.arguments import REFERENCE
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.errors import FailedPrecondition, InvalidInput
from assay.tom_verifier.v1 import stories_pb2, traces_pb2, verifier_pb2
from assay_tom_verifier.cli.drafting import Drafted, ask_for_traces, generator_options
from assay_tom_verifier.cli.group import SERVICE, tom_verifier
from assay_tom_verifier.cli.request import (
    FILE,
    LONG_CALL_S,
    OUT,
    document_of,
    model_digest,
    read_rows,
    read_text,
    run,
    stub_of,
)

AGGREGATIONS = {
    "prod": verifier_pb2.AGGREGATION_PROD,
    "min": verifier_pb2.AGGREGATION_MIN,
    "mean": verifier_pb2.AGGREGATION_MEAN,
    "last": verifier_pb2.AGGREGATION_LAST,
}
METHODS = {
    "vanilla": verifier_pb2.SELECTION_METHOD_VANILLA,
    "weighted": verifier_pb2.SELECTION_METHOD_WEIGHTED,
    "majority": verifier_pb2.SELECTION_METHOD_MAJORITY,
}


@command(tom_verifier, "score", service=SERVICE)
@click.argument("verifier", type=REFERENCE)
@click.argument("story", type=FILE)
@click.argument("question")
@click.argument("traces", type=FILE, required=False)
@generator_options
@click.option("--out", type=OUT, help="Where to write the candidates that `select` takes (JSONL).")
def score(
    session: CommandSession,
    verifier: str,
    story: str,
    question: str,
    traces: str | None,
    generator: str | None,
    out: Path | None,
    **sampling: Any,
) -> None:
    """Probability that each step of TRACES is right, by VERIFIER.

    TRACES: JSONL, a row a trace: {"trace": "## Step 1 ## ..."} or {"claims": ["red_box", ...], "answer": "red_box"}.
    In place of TRACES, --generator has them written.
    """
    if (traces is None) == (generator is None):
        raise InvalidInput("TRACES", "or --generator is needed, one of the two")
    text, asked = read_text(story, "STORY"), stories_pb2.AskedQuestion(text=question)
    with session.connection() as connection:
        if generator is not None:
            drafts = ask_for_traces(session, connection, generator, text, asked, **sampling)
        else:
            drafts = [Drafted(given) for given in _traces(read_rows(traces or "", "TRACES"))]
        read = [(number, draft.given) for number, draft in enumerate(drafts, 1) if draft.given is not None]
        refused = [(number, draft.refused) for number, draft in enumerate(drafts, 1) if draft.given is None]
        if not read:
            raise FailedPrecondition(
                f"none of the {len(drafts)} texts is a trace; the first {refused[0][1]}; keep them with --written, and "
                "try another generator or a lower temperature",
                reason="NO_TRACES",
            )
        request = verifier_pb2.ScoreTracesRequest(
            verifier=verifier,
            candidates=verifier_pb2.CandidateSet(story=text, question=asked, traces=[given for _, given in read]),
        )
        answer = connection.call(stub_of(connection).ScoreTraces, request, timeout_s=LONG_CALL_S)
    numbered = [(number, found) for (number, _), found in zip(read, answer.scores, strict=True)]
    if out is not None:
        with out.open("w", encoding="utf-8") as file:
            for found in answer.scores:
                row = {"answer": found.answer, "step_scores": list(found.step_scores)}
                file.write(json.dumps(row) + "\n")

    def human() -> None:
        print_table(
            ("trace", "answer", "lowest", "at step", "scores"),
            [
                (
                    number,
                    found.answer,
                    f"{min(found.step_scores):.3f}",
                    1 + list(found.step_scores).index(min(found.step_scores)),
                    " ".join(f"{step:.2f}" for step in found.step_scores),
                )
                for number, found in numbered
            ],
            right=("trace", "lowest", "at step"),
        )
        if refused:
            click.echo(f"{len(refused)} of {len(drafts)} texts are no traces:")
        for number, reason in refused:
            click.echo(f"  {number}: {reason}")

    document = document_of(answer)
    if generator is not None:
        for (number, _), row in zip(read, document["scores"], strict=True):
            row["sample"] = number
        document["refused"] = [{"sample": number, "reason": reason} for number, reason in refused]
    session.emit(document, human)


@command(tom_verifier, "select", service=SERVICE)
@click.argument("candidates", type=FILE)
@click.option("--aggregation", type=click.Choice(list(AGGREGATIONS)), default="prod", show_default=True)
@click.option("--method", type=click.Choice(list(METHODS)), default="vanilla", show_default=True)
def select(session: CommandSession, candidates: str, aggregation: str, method: str) -> None:
    """The answer of the best of CANDIDATES: JSONL, a row each of {"answer": ..., "step_scores": [...]}."""
    request = verifier_pb2.SelectBestRequest(aggregation=AGGREGATIONS[aggregation], method=METHODS[method])
    for number, row in enumerate(read_rows(candidates, "CANDIDATES"), 1):
        try:
            request.candidates.add(answer=row["answer"], step_scores=row.get("step_scores", []))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("CANDIDATES", f"row {number} needs an answer and numbers as step_scores") from error
    with session.connection() as connection:
        answer = connection.call(stub_of(connection).SelectBest, request)

    def human() -> None:
        click.echo(answer.answer)
        print_table(
            ("answer", "weight", "votes"),
            [(one.answer, f"{one.weight:.4f}", one.votes) for one in answer.weights],
            right=("weight", "votes"),
        )
        if answer.left_out:
            rows = ", ".join(str(index + 1) for index in answer.left_out)
            click.echo(f"not compared, since they give no answer or stop early: {rows}")

    session.emit(document_of(answer), human)


@command(tom_verifier, "train", service=SERVICE)
@click.option("--steps", type=click.IntRange(0), default=0, help="Of the verifier's training.  [default: 3000]")
@click.option("--batch", type=click.IntRange(0), default=0, help="Traces in a step.  [default: 32]")
@click.option("--generator-steps", type=click.IntRange(0), default=0, help="Of the generator's.  [default: 120]")
@click.option("--length", type=click.IntRange(1, 3), default=1, show_default=True, help="Chapters of the stories.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--words", is_flag=True, help="Reads words, not parsed lines (2500 and 100 steps).")
@click.option("--base", help="A causal language model, stored or a directory, that is taught to judge traces as text.")
@click.option("--learning-rate", type=float, default=0.0, help="Of --base's training.  [default: 1e-5]")
@click.option("--reliability", type=OUT, help="Where to draw whether scores are probabilities (SVG).")
@click.option("--accuracy", type=OUT, help="Where to draw accuracy by number of candidates (SVG).")
def train(
    session: CommandSession,
    steps: int,
    batch: int,
    generator_steps: int,
    length: int,
    seed: int,
    words: bool,
    base: str | None,
    learning_rate: float,
    reliability: Path | None,
    accuracy: Path | None,
) -> None:
    """Trains a small generator, and a verifier on fresh traces of it: a small network, or --base."""
    request = verifier_pb2.TrainPbmRequest(
        request_id=str(uuid.uuid4()),
        steps=steps,
        batch=batch,
        generator_steps=generator_steps,
        length=length,
        seed=seed,
        learning_rate=learning_rate,
        reading=verifier_pb2.LINE_READING_WORDS if words else verifier_pb2.LINE_READING_UNSPECIFIED,
    )
    with session.connection() as connection:
        if base is not None:
            request.base = model_digest(session, connection, base)
        result = run(session, connection, "TrainPbm", request, verifier_pb2.TrainPbmResult, "training")
        for path, name in ((reliability, "reliability.svg"), (accuracy, "accuracy.svg")):
            if path is not None:
                path.write_bytes(connection.artifacts.read(result.report, name))

    def human() -> None:
        quality = result.quality
        click.echo(
            f"on {quality.questions:,} unseen questions, {quality.steps:,} steps: AUC at the first error "
            f"{quality.auc:.3f}, Brier skill {quality.brier_skill:.3f}, ECE {quality.ece:.3f}"
        )
        print_table(
            ("candidates", "verifier", "majority", "oracle"),
            [
                (row.candidates, f"{row.verifier:.3f}", f"{row.majority:.3f}", f"{row.oracle:.3f}")
                for row in quality.selections
            ],
            right=("candidates", "verifier", "majority", "oracle"),
        )
        click.echo(f"generator {result.generator}")
        click.echo(f"verifier {result.verifier}")

    session.emit(document_of(result), human)


def _traces(rows: list[dict[str, Any]]) -> Iterator[traces_pb2.GivenTrace]:
    for number, row in enumerate(rows, 1):
        if isinstance(row.get("trace"), str):
            yield traces_pb2.GivenTrace(text=row["trace"])
        elif isinstance(row.get("claims"), list) and all(isinstance(claim, str) for claim in row["claims"]):
            steps = [traces_pb2.TraceStep(claim=claim) for claim in row["claims"]]
            yield traces_pb2.GivenTrace(trace=traces_pb2.Trace(steps=steps, answer=str(row.get("answer", ""))))
        else:
            raise InvalidInput("TRACES", f"row {number} has neither a text trace nor a list of claims")
