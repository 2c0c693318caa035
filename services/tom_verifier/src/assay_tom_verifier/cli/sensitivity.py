"""`sensitivity`, `rope`: which parameters carry a model's theory of mind."""

from __future__ import annotations

import uuid
from pathlib import Path

import click

from assay.cli.arguments import MODEL, REFERENCE, TEXT
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.tom_verifier.v1 import sensitivity_pb2
from assay_tom_verifier.cli.group import SERVICE, tom_verifier
from assay_tom_verifier.cli.request import OUT, document_of, model_digest, run, text_digest
from assay_tom_verifier.requests import MAX_NOTED_SEED

SEED = click.IntRange(0, MAX_NOTED_SEED)
FIGURES = ("dominant pair", "attention to the first token", "query-key angle, rad")


@command(tom_verifier, "sensitivity", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option(
    "--share", "shares", type=float, multiple=True, help="Of each matrix; may be given often.  [default: 0.001]"
)
@click.option("--samples", type=click.IntRange(0), default=0, help="Texts of each kind.  [default: 100]")
@click.option("--controls", type=click.IntRange(0), default=0, help="Random masks to compare with.  [default: 5]")
@click.option("--text", type=TEXT, help="General text: a directory, digest or label; by default the standard library.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--compat", is_flag=True, help="Compute as the published code does, defects included.")
@click.option("--out", type=OUT, help="Where to draw score and perplexity (SVG).")
def sensitivity(
    session: CommandSession,
    model: str,
    shares: tuple[float, ...],
    samples: int,
    controls: int,
    text: str | None,
    seed: int,
    compat: bool,
    out: Path | None,
) -> None:
    """Masks what in MODEL matters to theory of mind, perturbs it, and measures beside random masks."""
    with session.connection() as connection:
        digest = model_digest(session, connection, model)
        general = text_digest(session, connection, text)
        scan = sensitivity_pb2.ScanSensitivityRequest(
            request_id=str(uuid.uuid4()),
            model=digest,
            shares=shares,
            samples=samples,
            seed=seed,
            text=general,
            compat=compat,
        )
        masked = run(session, connection, "ScanSensitivity", scan, sensitivity_pb2.ScanSensitivityResult, "scanning")
        perturb = sensitivity_pb2.PerturbAndEvaluateRequest(
            request_id=str(uuid.uuid4()),
            model=digest,
            masks=[one.mask for one in masked.masks],
            controls=controls,
            seed=seed,
            text=general,
        )
        result = run(
            session,
            connection,
            "PerturbAndEvaluate",
            perturb,
            sensitivity_pb2.PerturbAndEvaluateResult,
            "perturbing",
        )
        if out is not None:
            out.write_bytes(connection.artifacts.read(result.perturbation, "masks.svg"))

    def human() -> None:
        print_table(
            ("share", "mask", "parameters", "theory-of-mind score", "perplexity"),
            [
                (f"{one.share:g}", one.name, f"{one.masked:,}", f"{one.tom_score:.3f}", f"{one.perplexity:.2f}")
                for one in (result.before, *result.after)
            ],
            right=("parameters", "theory-of-mind score", "perplexity"),
        )
        click.echo(result.standing)
        for one in masked.masks:
            click.echo(f"share {one.share:g}: mask {one.mask}")

    session.emit({"scan": document_of(masked), "perturbation": document_of(result)}, human)


@command(tom_verifier, "rope", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--mask", type=REFERENCE, default="", help="Compare with MODEL perturbed by this mask.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=OUT, help="Where to draw norms by frequency (SVG), under the mask where one is given.")
def rope(session: CommandSession, model: str, mask: str, seed: int, out: Path | None) -> None:
    """Rotary frequencies of MODEL: which dominate, how queries meet keys, what the first token draws."""
    with session.connection() as connection:
        request = sensitivity_pb2.AnalyzeRopeRequest(
            request_id=str(uuid.uuid4()), model=model_digest(session, connection, model), mask=mask, seed=seed
        )
        result = run(session, connection, "AnalyzeRope", request, sensitivity_pb2.AnalyzeRopeResult, "analysing")
        if out is not None:
            drawn = "frequencies-after.svg" if mask else "frequencies.svg"
            out.write_bytes(connection.artifacts.read(result.analysis, drawn))

    def human() -> None:
        sides = ("", ", after") if mask else ("",)
        print_table(
            ("layer", "head", *(figure + side for side in sides for figure in FIGURES)),
            [(head.layer, head.head, *_figures(head, after=bool(mask))) for head in result.heads],
        )
        click.echo(f"analysis {result.analysis}")

    session.emit(document_of(result), human)


def _figures(head: sensitivity_pb2.HeadAnalysis, *, after: bool) -> list[str]:
    """In the order of FIGURES: of the model, then under the mask."""
    figures: list[tuple[int, float, float]] = [
        (head.dominant_pair, head.first_token_attention, head.query_key_angle),
        (head.dominant_pair_after, head.first_token_attention_after, head.query_key_angle_after),
    ]
    return [
        shown
        for pair, attention, angle in figures[: 2 if after else 1]
        for shown in (str(pair), f"{attention:.3f}", f"{angle:.3f}")
    ]
