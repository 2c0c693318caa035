"""`assay moe-router`: from routing statistics to a balanced model of the same size."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message

from assay.cli.arguments import MODEL, TEXT
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.client.connection import Connection
from assay.client.inputs import model_artifact, text_artifact
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import moe_router_pb2_grpc

SERVICE = "moe_router"
METRICS = {
    "leave-one-out-loss": api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS,
    "leave-one-out-accuracy": api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY,
    "activation-norm": api.IMPORTANCE_METRIC_ACTIVATION_NORM,
    "wanda-row": api.IMPORTANCE_METRIC_WANDA_ROW,
    "frequency": api.IMPORTANCE_METRIC_FREQUENCY,
}
POLICIES = {
    "paper": api.PLAN_POLICY_PAPER,
    "target-lis": api.PLAN_POLICY_TARGET_LIS,
    "bytes": api.PLAN_POLICY_BYTES,
}
LONG_CALL_S = 1800.0
COUNT = click.IntRange(min=0)  # the service checks more; this much is told before a text is uploaded


@click.group("moe-router")
def moe_router() -> None:
    """Are the experts balanced, and can replicas and quantisation balance them for free?

    MODEL is a directory as save_pretrained writes it, or the digest or label of a stored model. Each step prints the
    digest that the next one takes: calibrate, importance, plan, apply, evaluate.
    """


def _text_options(default_split: str) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in (
            click.option("--batch-sequences", type=COUNT, default=0, help="Sequences in a forward pass.  [default: 8]"),
            click.option("--sequence-tokens", type=COUNT, default=0, help="Tokens in a sequence.  [default: 128]"),
            click.option(
                "--sequences",
                type=COUNT,
                default=0,
                help="Sequences to take, spread evenly over the split.  [default: 96]",
            ),
            click.option("--split", default=default_split, show_default=True, help="Split of the text."),
            click.option(
                "--text",
                type=TEXT,
                help="Directory of text files, digest or label; by default the interpreter's standard library.",
            ),
        ):
            function = option(function)
        return function

    return decorate


@command(moe_router, "describe", service=SERVICE)
@click.argument("model", type=MODEL)
def describe(session: CommandSession, model: str) -> None:
    """Shows MODEL's layers of routed experts."""
    with session.connection() as connection:
        answer = connection.call(
            _stub(connection).DescribeModel,
            api.DescribeModelRequest(model=_model(session, connection, model)),
            timeout_s=LONG_CALL_S,
        )

    def human() -> None:
        routed = answer.expert_parameters / max(1, answer.parameters)
        click.echo(
            f"{answer.model_class}, {answer.parameters:,} parameters, {routed:.0%} of them in routed experts, "
            f"{answer.bytes:,} bytes"
        )
        click.echo(f"model {answer.fingerprint}")
        if answer.dense_layers:
            click.echo(f"layers without routed experts: {', '.join(map(str, answer.dense_layers))}")
        print_table(
            ("layer", "experts", "top-k", "shared", "bytes per expert", "type", "capacity", "layout"),
            [
                (
                    layer.layer,
                    layer.experts,
                    layer.top_k,
                    layer.shared_experts,
                    f"{layer.bytes_per_expert:,}",
                    layer.dtype,
                    layer.capacity or "none",
                    layer.layout,
                )
                for layer in answer.layers
            ],
        )

    session.emit(_document(answer), human)


@command(moe_router, "calibrate", service=SERVICE)
@click.argument("model", type=MODEL)
@_text_options("calibration")
def calibrate(session: CommandSession, model: str, **options: Any) -> None:
    """Counts where MODEL's routers send a text's tokens."""
    with session.connection() as connection:
        request = api.CalibrateRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_selection(session, connection, options),
        )
        with session.progress("calibrating") as progress:
            result = connection.run(
                _stub(connection).Calibrate, request, api.CalibrateResult, on_progress=progress.operation
            )

    def human() -> None:
        print_table(
            ("layer", "LIS", "tokens routed", "padding", "dropped", "experts never chosen"),
            [
                (
                    layer.layer,
                    f"{layer.load_imbalance:.3f}" if layer.routed_tokens else "undefined",
                    f"{layer.routed_tokens:,}",
                    layer.masked_tokens,
                    layer.dropped_tokens,
                    sum(tokens == 0 for tokens in layer.expert_tokens),
                )
                for layer in result.layers
            ],
        )
        click.echo(f"statistics {result.statistics}")

    session.emit(_document(result), human)


@command(moe_router, "importance", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--metric", type=click.Choice(list(METRICS)), default="leave-one-out-loss", show_default=True)
@_text_options("calibration")
def importance(session: CommandSession, model: str, metric: str, **options: Any) -> None:
    """Scores how much each of MODEL's experts matters."""
    with session.connection() as connection:
        request = api.ScoreImportanceRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_selection(session, connection, options),
            metric=METRICS[metric],
        )
        with session.progress("scoring experts") as progress:
            result = connection.run(
                _stub(connection).ScoreImportance, request, api.ScoreImportanceResult, on_progress=progress.operation
            )

    def human() -> None:
        rows = []
        for layer in result.layers:
            order = sorted(range(len(layer.expert_importance)), key=lambda e: layer.expert_importance[e])
            named = [f"{expert} ({layer.expert_importance[expert]:.3g})" for expert in order]
            rows.append((layer.layer, ", ".join(named[:3]), ", ".join(reversed(named[-3:]))))
        print_table(("layer", "least important", "most important"), rows)
        click.echo(f"importance {result.importance}")

    session.emit(_document(result), human)


@command(moe_router, "plan", service=SERVICE)
@click.argument("statistics")
@click.argument("importance")
@click.option("--policy", type=click.Choice(list(POLICIES)), default="target-lis", show_default=True)
@click.option("--target", "target", type=float, default=0.0, help="LIS that target-lis aims at.  [default: 1.2]")
@click.option("--bits", type=click.Choice(["8", "4"]), multiple=True, help="May be given twice.  [default: 8]")
@click.option("--budget-bytes", type=int, default=0, help="Bytes of all experts.  [default: what they take now]")
@click.option("--exact", is_flag=True, help="Replicas of full precision: logits unchanged, memory grows.")
def plan(session: CommandSession, statistics: str, importance: str, **options: Any) -> None:
    """Chooses replicas and precisions within the model's own bytes. STATISTICS, IMPORTANCE: digests."""
    with session.connection() as connection:
        request = api.PlanReplicateQuantizeRequest(
            statistics=statistics,
            importance=importance,
            policy=POLICIES[options["policy"]],
            target_load_imbalance=options["target"],
            bits=map(int, options["bits"]),
            budget_bytes=options["budget_bytes"],
            exact=options["exact"],
        )
        answer = connection.call(_stub(connection).PlanReplicateQuantize, request, timeout_s=LONG_CALL_S)

    def human() -> None:
        print_table(
            ("layer", "LIS before", "replicas", "of experts", "quantized experts", "lis_logical", "lis_slots"),
            [_plan_row(layer) for layer in answer.layers],
        )
        for layer in answer.layers:
            for note in layer.notes:
                click.echo(f"layer {layer.layer}: {note}")
        click.echo(f"expert bytes {answer.bytes_before:,} -> {answer.bytes_after:,}")
        click.echo(f"plan {answer.plan}")

    session.emit(_document(answer), human)


def _plan_row(layer: api.LayerPlan) -> Sequence[object]:
    # The experts' own slots are numbered in order; the first that is not begins the replicas.
    experts = next((slot for slot, owner in enumerate(layer.slot_experts) if owner != slot), len(layer.slot_experts))
    copies = Counter(layer.slot_experts[experts:])
    return (
        layer.layer,
        f"{layer.load_imbalance_before:.3f}",
        len(layer.slot_experts) - experts,
        ", ".join(f"{expert} x{count}" for expert, count in sorted(copies.items())) or "none",
        f"{sum(bits != 0 for bits in layer.slot_bits[:experts])} of {experts}",
        f"{layer.lis_logical:.3f}",
        f"{layer.lis_slots:.3f}",
    )


@command(moe_router, "apply", service=SERVICE)
@click.argument("plan")
@click.option("--expected-epoch", type=int, default=0, help="Fail unless the active plan has this epoch.")
def apply(session: CommandSession, plan: str, expected_epoch: int) -> None:
    """Builds the planned model, verifies it on a probe batch and makes PLAN the active one."""
    with session.connection() as connection:
        request = api.ApplyPlanRequest(request_id=str(uuid.uuid4()), plan=plan, expected_epoch=expected_epoch)
        with session.progress("applying") as progress:
            result = connection.run(
                _stub(connection).ApplyPlan, request, api.ApplyPlanResult, on_progress=progress.operation
            )

    def human() -> None:
        click.echo(f"expert bytes   {result.bytes_before:,} -> {result.bytes_after:,}")
        click.echo(
            f"probe          logits differ by {result.probe_max_abs_difference:.3g} at most, distributions by "
            f"{result.probe_mean_divergence_nats:.2g} nats on average"
        )
        click.echo(f"epoch          {result.epoch}")
        click.echo(f"balanced model {result.balanced_model}")

    session.emit(_document(result), human)


@command(moe_router, "revert", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--expected-epoch", type=int, default=0, help="Fail unless the active plan has this epoch.")
def revert(session: CommandSession, model: str, expected_epoch: int) -> None:
    """Makes MODEL's previous plan, or none, the active one."""
    with session.connection() as connection:
        digest, stub = _model(session, connection, model), _stub(connection)
        # Always with an epoch: a call is repeated where its answer is lost, and must not revert twice.
        seen = connection.call(stub.GetActivePlan, api.GetActivePlanRequest(model=digest)).active.epoch
        request = api.RevertPlanRequest(model=digest, expected_epoch=expected_epoch or seen)
        active = connection.call(stub.RevertPlan, request).active

    def human() -> None:
        click.echo(f"epoch {active.epoch}: {active.plan or 'no plan, the model runs as it is'}")

    session.emit(_document(active), human)


@command(moe_router, "active", service=SERVICE)
@click.argument("model", type=MODEL)
def active(session: CommandSession, model: str) -> None:
    """Shows the plan that MODEL runs under."""
    with session.connection() as connection:
        request = api.GetActivePlanRequest(model=_model(session, connection, model))
        found = connection.call(_stub(connection).GetActivePlan, request).active

    def human() -> None:
        click.echo(f"epoch {found.epoch}: {found.plan or 'no plan, the model runs as it is'}")

    session.emit(_document(found), human)


@command(moe_router, "evaluate", service=SERVICE)
@click.argument("balanced_model")
@_text_options("test")
@click.option("--resamples", type=int, default=0, help="Of the paired bootstrap.  [default: 10000]")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Of the bootstrap.")
def evaluate(session: CommandSession, balanced_model: str, resamples: int, seed: int, **options: Any) -> None:
    """Compares BALANCED_MODEL (a digest) with the original on held-out text."""
    with session.connection() as connection:
        request = api.EvaluateRequest(
            request_id=str(uuid.uuid4()),
            balanced_model=balanced_model,
            text=_selection(session, connection, options),
            bootstrap_resamples=resamples,
            seed=seed,
        )
        with session.progress("evaluating") as progress:
            result = connection.run(
                _stub(connection).Evaluate, request, api.EvaluateResult, on_progress=progress.operation
            )

    def human() -> None:
        print_table(
            ("layer", "LIS before", "lis_logical", "lis_slots", "ratio"),
            [
                (
                    layer.layer,
                    f"{layer.load_imbalance_before:.3f}",
                    f"{layer.lis_logical:.3f}",
                    f"{layer.lis_slots:.3f}",
                    f"{layer.ratio:.2f}x",
                )
                for layer in result.layers
            ],
        )
        loss, accuracy = result.loss_nats, result.accuracy
        click.echo(
            f"loss      {loss.before:.4f} -> {loss.after:.4f} nats per token, {loss.change:+.5f} "
            f"[{loss.change_low:+.5f}, {loss.change_high:+.5f}]"
        )
        click.echo(
            f"accuracy  {accuracy.before:.2%} -> {accuracy.after:.2%}, {100 * accuracy.change:+.3f} points "
            f"[{100 * accuracy.change_low:+.3f}, {100 * accuracy.change_high:+.3f}]"
        )
        click.echo(f"on {result.sequences} sequences; brackets: 95 % paired bootstrap")
        click.echo(f"evaluation {result.evaluation}")

    session.emit(_document(result), human)


@command(moe_router, "report", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--text", type=TEXT, help="Directory of text files, digest or label; by default the standard library.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory that report.html and report.json are written to.",
)
def report(session: CommandSession, model: str, text: str | None, out: Path) -> int:
    """Does all of the above on MODEL, but for making a plan active, and writes a report card with the plots."""
    from assay.checkup.cli import report as print_report
    from assay.checkup.run import check_up
    from assay.checkup.targets import targets

    with targets([SERVICE], endpoint=session.endpoint, config=session.config) as asked:
        card = check_up(asked, model, text, out)
    return print_report(session, card)


def _stub(connection: Connection) -> Any:
    return moe_router_pb2_grpc.MoeRouterServiceStub(connection.channel)


def _model(session: CommandSession, connection: Connection, argument: str) -> str:
    with session.progress("model") as progress:
        return model_artifact(connection.artifacts, argument, progress=progress).digest


def _selection(session: CommandSession, connection: Connection, options: dict[str, Any]) -> api.TextSelection:
    with session.progress("text") as progress:
        text = text_artifact(connection.artifacts, options["text"], progress=progress)
    return api.TextSelection(
        text=text.digest,
        split=options["split"],
        sequences=options["sequences"],
        sequence_tokens=options["sequence_tokens"],
        batch_sequences=options["batch_sequences"],
    )


def _document(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
