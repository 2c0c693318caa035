"""`profile-exit`, `calibrate`: after which layer the answer is there, and when to leave."""

from __future__ import annotations

import uuid
from typing import Any

import click

from assay.cli.arguments import MODEL
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.cli.group import SERVICE, inference_optimizer
from assay_inference_optimizer.cli.request import (
    density_option,
    document_of,
    model_digest,
    run,
    sparse_config,
    sparse_options,
    text_options,
    text_selection,
)

RULES = {
    "max-probability": api.EXIT_RULE_MAX_PROBABILITY,
    "margin": api.EXIT_RULE_MARGIN,
    "entropy": api.EXIT_RULE_ENTROPY,
    "state-cosine": api.EXIT_RULE_STATE_COSINE,
    "patience": api.EXIT_RULE_PATIENCE,
}


@command(inference_optimizer, "profile-exit", service=SERVICE)
@click.argument("model", type=MODEL)
@text_options("64")
def profile_exit(session: CommandSession, model: str, **options: Any) -> None:
    """After which of MODEL's layers its answer is there, and what leaving then would save."""
    with session.connection() as connection:
        request = api.ProfileEarlyExitRequest(
            request_id=str(uuid.uuid4()),
            model=model_digest(session, connection, model),
            text=text_selection(session, connection, options),
        )
        result = run(session, connection, "ProfileEarlyExit", request, api.ProfileEarlyExitResult, "profiling")
    rule_names = {value: name for name, value in RULES.items()}

    def human() -> None:
        print_table(
            ("layer", "agrees", "for good", "cosine to previous", "to final", "KL, nats"),
            [
                (
                    layer.layer,
                    f"{layer.agreement:.3f}",
                    f"{layer.saturated:.3f}",
                    f"{layer.previous_cosine:.3f}",
                    f"{layer.final_cosine:.3f}",
                    f"{layer.divergence_nats:.3f}",
                )
                for layer in result.layers
            ],
        )
        suited = result.suitability
        click.echo(
            f"oracle saving {result.oracle_saving:.1%} of the layers ({result.oracle_net_saving:+.1%} net of heads; "
            f"one head is {result.head_cost_layers:.2f} layers)"
        )
        if suited.rule:
            click.echo(
                f"suitability   {suited.gross_saving:.1%} ({suited.net_saving:+.1%} net), {rule_names[suited.rule]} at "
                f"{suited.threshold:.6g}, disagreement {suited.disagreement:.2%}, bound {suited.disagreement_bound:.2%}"
            )
        else:
            click.echo("suitability   0: no threshold could be certified at 1 % disagreement")
        click.echo(f"profile {result.profile}")

    session.emit(document_of(result), human)


@command(inference_optimizer, "calibrate", service=SERVICE)
@click.argument("model", type=MODEL)
@text_options("1000")
@click.option("--epsilon", type=float, default=0.0, help="Share of tokens that may differ.  [default: 0.02]")
@click.option("--delta", type=float, default=0.0, help="Probability that this fails.  [default: 0.05]")
@click.option("--rule", type=click.Choice(list(RULES)), help="[default: the one that saves most]")
@click.option("--exit-layers", default="", help="Where to leave, separated by commas.  [default: every layer]")
@click.option("--skip-tokens", type=int, default=0, help="First tokens of a sequence that are context only.")
@density_option(None)
@sparse_options
def calibrate(session: CommandSession, model: str, rule: str | None, exit_layers: str, **options: Any) -> None:
    """Chooses thresholds by which tokens may leave MODEL early, with a bounded risk."""
    exits = _whole_numbers("--exit-layers", exit_layers)
    with session.connection() as connection:
        request = api.CalibrateEarlyExitRequest(
            request_id=str(uuid.uuid4()),
            model=model_digest(session, connection, model),
            text=text_selection(session, connection, options),
            epsilon=options["epsilon"],
            delta=options["delta"],
            exit_layers=exits,
            rule=RULES[rule] if rule else api.EXIT_RULE_UNSPECIFIED,
            skip_tokens=options["skip_tokens"],
            sparse=sparse_config(options) if options["density"] is not None else None,
        )
        result = run(session, connection, "CalibrateEarlyExit", request, api.CalibrateEarlyExitResult, "calibrating")
    document = document_of(result)
    document["rule"] = next(name for name, value in RULES.items() if value == result.rule)

    def human() -> None:
        if not result.certified:
            click.echo(f"no threshold keeps the risk at {result.epsilon:g}: no token may leave early")
        else:
            click.echo(f"rule        {document['rule']} at {result.threshold:.6g}")
            click.echo(
                f"risk        {result.risk:.2%} of tokens on {result.prompts} sequences; at most {result.epsilon:.2%} "
                f"with probability {1 - result.delta:g}"
            )
            click.echo(f"saved       {result.gross_saving:.1%} of the layers, {result.net_saving:+.1%} net of heads")
        if result.HasField("sparse"):
            click.echo(f"attention   sparse, density {result.sparse.target_density:g}; answers will attend so, too")
        click.echo(f"without the bound it would be {result.plug_in_saving:.1%}, and no promise")
        click.echo(f"calibration {result.calibration}")

    session.emit(document, human)


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InvalidInput(option, f"is {text!r}; write whole numbers separated by commas") from None
