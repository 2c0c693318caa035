"""`check`, `eval`, `audit`: traces and published answers against the rules."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.tom_verifier.v1 import stories_pb2, traces_pb2
from assay_tom_verifier.cli.group import SERVICE, tom_verifier
from assay_tom_verifier.cli.request import (
    FILE,
    LONG_CALL_S,
    OUT,
    PROFILES,
    batches,
    belief_text,
    document_of,
    labelled_rows,
    profile_option,
    read_text,
    stub_of,
)

MODES = {"prefix": traces_pb2.STEP_LABEL_MODE_PREFIX, "step": traces_pb2.STEP_LABEL_MODE_STEP}
COUNTS = ("total", "agree", "unparsed")


@command(tom_verifier, "check", service=SERVICE)
@click.argument("story", type=FILE)
@click.argument("question")
@click.argument("trace", type=FILE)
@click.option(
    "--mode",
    type=click.Choice(list(MODES)),
    default="prefix",
    show_default=True,
    help="A step is right if all up to it are, or if it is itself.",
)
@profile_option
def check(session: CommandSession, story: str, question: str, trace: str, mode: str, profile: str) -> None:
    """Labels each step of TRACE, a file of "## Step 1 ##" and so on, exactly."""
    request = traces_pb2.CheckTraceRequest(
        story=read_text(story, "STORY"),
        question=stories_pb2.AskedQuestion(text=question),
        trace=traces_pb2.GivenTrace(text=read_text(trace, "TRACE")),
        mode=MODES[mode],
        profile=PROFILES[profile],
    )
    with session.connection() as connection:
        answer = connection.call(stub_of(connection).CheckTrace, request)

    def human() -> None:
        print_table(
            ("step", "right", "claims", "the rules give", "because"),
            [
                (number, "+" if step.right else "-", step.claim, belief_text(step.expected), step.expected.rule)
                for number, step in enumerate(answer.steps, 1)
            ],
            right=("step",),
        )
        said = "right" if answer.answer_right else f"wrong: the rules give {belief_text(answer.expected_answer)}"
        click.echo(f"final answer {answer.trace.answer or '(none)'}: {said}")

    session.emit(document_of(answer), human)


@command(tom_verifier, "eval", service=SERVICE)
@click.argument("file", type=FILE)
@click.option("--answers", type=OUT, help="Where to write the answer of each id (JSONL).")
@profile_option
def evaluate(session: CommandSession, file: str, answers: Path | None, profile: str) -> None:
    """How many published answers of FILE, rows in the form of Hi-ToM's (JSONL), the rules agree with."""
    counts = dict.fromkeys(COUNTS, 0)
    groups: dict[str, dict[str, int]] = {}
    verdicts: list[traces_pb2.RowVerdict] = []
    rows = labelled_rows(file, "FILE")
    with session.connection() as connection, session.progress("answering") as progress:
        for batch in batches(rows):
            request = traces_pb2.EvaluateRequest(rows=batch, profile=PROFILES[profile])
            answer = connection.call(stub_of(connection).Evaluate, request, timeout_s=LONG_CALL_S)
            verdicts += answer.rows
            for group in answer.groups:
                kept = groups.setdefault(group.group, dict.fromkeys(COUNTS, 0))
                for name in COUNTS:
                    kept[name] += getattr(group, name)
            for name in COUNTS:
                counts[name] += getattr(answer, name)
            progress(counts["total"], 0, "rows")
    if answers is not None:
        with answers.open("w", encoding="utf-8") as out:
            for verdict in verdicts:
                found = verdict.answer if verdict.HasField("answer") else None
                out.write(json.dumps({"id": verdict.id, "answer": found}) + "\n")

    def human() -> None:
        print_table(
            ("prompting/length/deception/order", *COUNTS),
            [(name, *(group[c] for c in COUNTS)) for name, group in sorted(groups.items())],
            right=COUNTS,
        )
        click.echo(f"{counts['agree']} of {counts['total']} agree, {counts['unparsed']} could not be read")
        for verdict in verdicts:
            if verdict.refused:
                click.echo(f"{verdict.id}: {verdict.refused}")

    session.emit({**counts, "by_group": dict(sorted(groups.items()))}, human)


@command(tom_verifier, "audit", service=SERVICE)
@click.argument("file", type=FILE)
@profile_option
def audit(session: CommandSession, file: str, profile: str) -> None:
    """Which published answers of FILE the rules contradict, and how so."""
    audited, unparsed, found = 0, 0, list[traces_pb2.ContradictedRow]()
    rows = labelled_rows(file, "FILE")
    with session.connection() as connection, session.progress("auditing") as progress:
        for batch in batches(rows):
            request = traces_pb2.AuditRequest(rows=batch, profile=PROFILES[profile])
            answer = connection.call(stub_of(connection).Audit, request, timeout_s=LONG_CALL_S)
            audited, unparsed = audited + answer.audited, unparsed + answer.unparsed
            found += answer.contradicted
            progress(audited, 0, "rows")

    def human() -> None:
        for row in found:
            click.echo(f"{row.id}: published {row.published_answer}, the rules give {row.answer}")
            for change in row.derivation:
                click.echo(f"  line {change.line}: {belief_text(change)} ({change.rule})")
            if row.remark:
                click.echo(f"  {row.remark}")
        click.echo(f"{len(found)} of {audited} contradicted, {unparsed} could not be read")

    document = {
        "audited": audited,
        "unparsed": unparsed,
        "ids": [row.id for row in found],
        "contradicted": [document_of(row) for row in found],
    }
    session.emit(document, human)
