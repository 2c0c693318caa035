"""`assay inference-optimizer`: what a model costs to run, what it could, and what it says."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from assay.cli.arguments import MODEL
from assay.cli.session import CommandSession, command, print_json
from assay.cli.tables import print_table
from assay.client.connection import Connection, aio_channel
from assay.client.embedded import EmbeddedPlatform
from assay.client.errors import error_from_rpc
from assay.client.inputs import model_artifact, text_artifact
from assay.config import endpoint_of
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc

SERVICE = "inference_optimizer"
SELECTIONS = {
    "dense": api.SELECTION_DENSE,
    "oracle": api.SELECTION_ORACLE,
    "sketch_walk": api.SELECTION_SKETCH_WALK,
    "one_hop": api.SELECTION_ONE_HOP,
    "sink_window": api.SELECTION_SINK_WINDOW,
    "random": api.SELECTION_RANDOM,
}
VARIANTS = {"icml": api.SPARSE_VARIANT_ICML, "v1": api.SPARSE_VARIANT_V1}
SCOPES = {"sparse-layers": api.DENSITY_SCOPE_SPARSE_LAYERS, "all-layers": api.DENSITY_SCOPE_ALL_LAYERS}
RULES = {
    "max-probability": api.EXIT_RULE_MAX_PROBABILITY,
    "margin": api.EXIT_RULE_MARGIN,
    "entropy": api.EXIT_RULE_ENTROPY,
    "state-cosine": api.EXIT_RULE_STATE_COSINE,
    "patience": api.EXIT_RULE_PATIENCE,
}
FINISH_REASONS = {
    api.FINISH_REASON_END: "end",
    api.FINISH_REASON_STOP: "stop",
    api.FINISH_REASON_LENGTH: "length",
}
LITERAL_CHARACTERS = 10**6  # of a file of text: what one message holds, whatever the characters; longer ones are stored
FILE_SPLIT = "test"  # what a stored file is, whatever measures on it
LONG_CALL_S = 3600.0
HTTP_LISTEN = "127.0.0.1:8000"


@click.group("inference-optimizer")
def inference_optimizer() -> None:
    """How much faster can a language model run, at what loss?

    MODEL is a directory as save_pretrained writes it, or the digest or label of a stored model.
    """


@inference_optimizer.group("bench")
def bench() -> None:
    """Times sparse attention beside the fastest dense path, selection included, in one interleaved run."""


def _sparse_options(function: Any) -> Any:
    for option in (
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the sketch."),
        click.option("--degree", type=int, help="Steps of the walk.  [default: 3]"),
        click.option("--damping", type=float, help="Weight of the walk.  [default: 0.25]"),
        click.option("--window-tokens", type=int, help="Before the query, always attended to.  [default: 128]"),
        click.option("--sink-tokens", type=int, help="At the start, always attended to.  [default: 64]"),
        click.option("--dense-layers", type=int, help="First layers that stay dense.  [default: 2]"),
        click.option("--density-scope", type=click.Choice(list(SCOPES)), default="sparse-layers", show_default=True),
        click.option("--sketch-dim", type=int, help="Coordinates kept of a head.  [default: all]"),
        click.option("--block-size", type=int, help="Tokens in a block.  [default: 64]"),
        click.option("--variant", type=click.Choice(list(VARIANTS)), default="icml", show_default=True),
    ):
        function = option(function)
    return function


def _density(default: float | None = 0.2) -> Callable[[Any], Any]:
    shown = f"  [default: {default:g}]" if default else "; dense without it"
    return click.option("--density", type=float, default=default, help=f"Attended over causal pairs{shown}")


def _text_options(sequences: str, tokens: str = "as many as it was trained on, or 512") -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in (
            click.option("--split", default="", help="Split of a text that has them."),
            click.option("--sequence-tokens", type=int, default=0, help=f"Tokens in a sequence.  [default: {tokens}]"),
            click.option(
                "--sequences", type=int, default=0, help=f"Spread evenly over the text.  [default: {sequences}]"
            ),
            click.option(
                "--text",
                help="A text file; or a directory of them, digest or label; by default the standard library.",
            ),
        ):
            function = option(function)
        return function

    return decorate


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
@_density()
@_sparse_options
def bench_attention(session: CommandSession, **options: Any) -> None:
    """Prefill: every token attends."""
    _bench(session, api.ATTENTION_PHASE_PREFILL, options)


@command(bench, "decode", service=SERVICE)
@_bench_options
@_density()
@_sparse_options
def bench_decode(session: CommandSession, **options: Any) -> None:
    """Decoding: one token attends to all before it."""
    _bench(session, api.ATTENTION_PHASE_DECODE, options)


def _bench(session: CommandSession, phase: api.AttentionPhase, options: dict[str, Any]) -> None:
    request = api.BenchmarkAttentionRequest(
        request_id=str(uuid.uuid4()),
        phase=phase,
        device=options["device"] or "",
        dtype=options["dtype"] or "",
        sparse=_sparse(options),
        **{name: options[name] for name in ("length", "batch", "query_heads", "kv_heads", "head_dim", "rounds")},
    )
    with session.connection() as connection:
        result = _run(session, connection, "BenchmarkAttention", request, api.BenchmarkAttentionResult, "timing")
    document = _document(result)
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


@command(inference_optimizer, "inspect", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--text", help="A text file, directory of them, digest or label; by default the standard library.")
@click.option("--length", type=int, default=0, help="Tokens read.  [default: 512, or what the model reads]")
@_density()
@click.option("--method", type=click.Choice(list(SELECTIONS)), default="sketch_walk", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the heat map (SVG).")
@_sparse_options
def inspect(session: CommandSession, model: str, length: int, out: Path | None, **options: Any) -> None:
    """Shows which blocks MODEL's layers attend to on a text."""
    options |= {"sequences": 1, "sequence_tokens": length, "split": ""}
    with session.connection() as connection:
        request = api.InspectSelectionRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_text(session, connection, options),
            sparse=_sparse(options),
        )
        result = _run(session, connection, "InspectSelection", request, api.InspectSelectionResult, "reading")
        stored = json.loads(connection.artifacts.read(result.selection, "selection.json"))
        if out is not None:
            out.write_bytes(connection.artifacts.read(result.selection, "heat-map.svg"))
    chosen = {layer["layer"]: [block["key_blocks"] for block in layer["query_blocks"]] for layer in stored["layers"]}
    layers = [
        {
            "layer": layer.layer,
            "density": layer.density,
            "fallback": layer.fallback or None,
            "mass": layer.mass if layer.HasField("mass") else None,
            "oracle_mass": layer.oracle_mass if layer.HasField("oracle_mass") else None,
            "blocks": chosen[layer.layer],
        }
        for layer in result.layers
    ]
    document = {
        "density": result.density,
        "tokens": result.tokens,
        "block_size": result.block_size,
        "layers": layers,
        "selection": result.selection,
    }

    def human() -> None:
        print_table(
            ("layer", "density", "attention held", "best choice", "last query block attends to"),
            [
                (
                    layer.layer,
                    f"{layer.density:.3f}",
                    f"{layer.mass:.3f}" if layer.HasField("mass") else "",
                    f"{layer.oracle_mass:.3f}" if layer.HasField("oracle_mass") else "",
                    _blocks(chosen[layer.layer][-1]) if chosen[layer.layer] else f"all, since it {layer.fallback}",
                )
                for layer in result.layers
            ],
        )
        click.echo(f"density {result.density:.3f} over {result.tokens:,} tokens, blocks of {result.block_size}")
        click.echo(f"selection {result.selection}")

    session.emit(document, human)


@command(inference_optimizer, "quality", service=SERVICE)
@click.argument("model", type=MODEL)
@_text_options("32")
@_density()
@click.option(
    "--methods",
    default=",".join(SELECTIONS),
    show_default=True,
    help="Ways to choose blocks, separated by commas.",
)
@_sparse_options
def quality(session: CommandSession, model: str, methods: str, **options: Any) -> None:
    """Mean loss of MODEL on a text under each way to choose blocks, at equal counted density."""
    names = [name.strip().replace("-", "_") for name in methods.split(",") if name.strip()]
    if unknown := [name for name in names if name not in SELECTIONS]:
        raise InvalidInput("--methods", f"names {unknown[0]}; there are {', '.join(SELECTIONS)}")
    with session.connection() as connection:
        request = api.CompareSelectionRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_text(session, connection, options),
            selections=[SELECTIONS[name] for name in names],
            sparse=_sparse(options),
        )
        result = _run(session, connection, "CompareSelection", request, api.CompareSelectionResult, "comparing")
    named = {value: name for name, value in SELECTIONS.items()}
    rows = [(named[method.selection], method) for method in result.methods]
    document = {
        "nll": {name: method.loss_nats for name, method in rows},
        "density": {name: method.density for name, method in rows},
        "methods": [{"method": name, **_document(method, without=("selection",))} for name, method in rows],
        "sequences": result.sequences,
        "sequence_tokens": result.sequence_tokens,
        "comparison": result.comparison,
    }

    def human() -> None:
        print_table(
            ("method", "density", "NLL, nats per token", "rise over dense"),
            [
                (name, f"{method.density:.4f}", f"{method.loss_nats:.4f}", _interval(method.increase_nats))
                for name, method in rows
            ],
        )
        click.echo(f"on {result.sequences} sequences of {result.sequence_tokens} tokens; 95 % paired bootstrap")

    session.emit(document, human)


@command(inference_optimizer, "plan", service=SERVICE)
@click.argument("model", type=MODEL)
@_text_options("16")
@click.option("--max-loss-increase", type=float, default=0.0, help="Nats per token.  [default: 0.01]")
@click.option("--length", type=int, default=0, help="Prompt that speed is predicted for.  [default: the context]")
@_sparse_options
def plan(session: CommandSession, model: str, max_loss_increase: float, length: int, **options: Any) -> None:
    """Finds sparse attention of MODEL within a quality budget, tested on half of the text."""
    with session.connection() as connection:
        request = api.PlanSparsityRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_text(session, connection, options),
            max_loss_increase_nats=max_loss_increase,
            sparse=_sparse({**options, "density": None}),
            length=length,
        )
        result = _run(session, connection, "PlanSparsity", request, api.PlanSparsityResult, "planning")

    def human() -> None:
        print_table(("layer", "density"), [(layer.layer, f"{layer.density:.3f}") for layer in result.layers])
        if not result.within_budget:
            click.echo("nothing sparser than dense attention was shown to keep within the budget")
        click.echo(f"loss {result.dense_loss_nats:.4f} -> {result.loss_nats:.4f}, {_interval(result.increase_nats)}")
        click.echo(
            f"predicted, by multiplications: attention {result.predicted_attention_ratio:.2f}x, prefill of "
            f"{result.length:,} tokens {result.predicted_prefill_ratio:.2f}x"
        )
        click.echo(f"plan {result.plan}")

    session.emit(_document(result), human)


@command(inference_optimizer, "profile-exit", service=SERVICE)
@click.argument("model", type=MODEL)
@_text_options("64")
def profile_exit(session: CommandSession, model: str, **options: Any) -> None:
    """After which of MODEL's layers its answer is there, and what leaving then would save."""
    with session.connection() as connection:
        request = api.ProfileEarlyExitRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_text(session, connection, options),
        )
        result = _run(session, connection, "ProfileEarlyExit", request, api.ProfileEarlyExitResult, "profiling")
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

    session.emit(_document(result), human)


@command(inference_optimizer, "calibrate", service=SERVICE)
@click.argument("model", type=MODEL)
@_text_options("1000")
@click.option("--epsilon", type=float, default=0.0, help="Share of tokens that may differ.  [default: 0.02]")
@click.option("--delta", type=float, default=0.0, help="Probability that this fails.  [default: 0.05]")
@click.option("--rule", type=click.Choice(list(RULES)), help="[default: the one that saves most]")
@click.option("--exit-layers", default="", help="Where to leave, separated by commas.  [default: every layer]")
@click.option("--skip-tokens", type=int, default=0, help="First tokens of a sequence that are context only.")
def calibrate(session: CommandSession, model: str, rule: str | None, exit_layers: str, **options: Any) -> None:
    """Chooses thresholds by which tokens may leave MODEL early, with a bounded risk."""
    exits = _whole_numbers("--exit-layers", exit_layers)
    with session.connection() as connection:
        request = api.CalibrateEarlyExitRequest(
            request_id=str(uuid.uuid4()),
            model=_model(session, connection, model),
            text=_text(session, connection, options),
            epsilon=options["epsilon"],
            delta=options["delta"],
            exit_layers=exits,
            rule=RULES[rule] if rule else api.EXIT_RULE_UNSPECIFIED,
            skip_tokens=options["skip_tokens"],
        )
        result = _run(session, connection, "CalibrateEarlyExit", request, api.CalibrateEarlyExitResult, "calibrating")
    document = _document(result)
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
        click.echo(f"without the bound it would be {result.plug_in_saving:.1%}, and no promise")
        click.echo(f"calibration {result.calibration}")

    session.emit(document, human)


@command(inference_optimizer, "generate", service=SERVICE)
@click.argument("model", type=MODEL)
@click.option("--prompt", help="What to continue; by default what standard input holds.")
@click.option("--max-new-tokens", type=int, default=128, show_default=True)
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--top-p", type=float, default=0.0, help="Only the likeliest that make up this much.  [default: all]")
@click.option("--top-k", type=int, default=0, help="Only this many of the likeliest.  [default: all]")
@click.option("--sampling-seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--stop", multiple=True, help="Text that ends the answer; may be given several times.")
@click.option("--exit-layer", type=int, help="Draft with this many layers, verify with all: same tokens, sooner.")
@click.option("--calibration", help="Digest of calibrated thresholds to leave early by.")
@_density(None)
@_sparse_options
def generate(session: CommandSession, model: str, prompt: str | None, **options: Any) -> None:
    """Continues a prompt with MODEL, printing as it comes."""
    if prompt is None:
        prompt = sys.stdin.read()
    with session.connection() as connection:
        request = api.GenerateRequest(
            model=_model(session, connection, model),
            prompt=api.Prompt(text=prompt),
            sampling=api.Sampling(
                max_new_tokens=options["max_new_tokens"],
                temperature=options["temperature"],
                top_p=options["top_p"],
                top_k=options["top_k"],
                seed=options["sampling_seed"],
                stop=options["stop"],
            ),
            sparse=_sparse(options) if options["density"] is not None else None,
            early_exit=_early_exit(options["exit_layer"], options["calibration"]),
        )
        parts = []
        for part in _generated(connection, request):
            parts.append(part)
            if not session.as_json:
                click.echo(part.text, nl=False)
    last = parts[-1]
    tokens = [token for part in parts for token in part.tokens]
    document = {
        "text": "".join(part.text for part in parts),
        "finish_reason": FINISH_REASONS[last.finish_reason],
        "tokens": [_document(token) for token in tokens],
        "usage": _document(last.usage),
    }

    def human() -> None:
        usage = last.usage
        early = f", {usage.accepted_tokens} of {usage.drafted_tokens} drafts stood" if usage.drafted_tokens else ""
        click.echo()
        click.echo(
            f"[{usage.prompt_tokens} + {usage.generated_tokens} tokens, density {usage.density:.3f}{early}; ended by "
            f"{document['finish_reason']}]",
            err=True,
        )

    session.emit(document, human)


def _early_exit(layer: int | None, calibration: str | None) -> api.EarlyExitConfig | None:
    if layer is not None and calibration is not None:
        raise InvalidInput("--exit-layer", "does not go with --calibration; give one of them")
    if layer is not None:
        return api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_SPECULATIVE, exit_layers=[layer])
    if calibration is not None:
        return api.EarlyExitConfig(mode=api.EARLY_EXIT_MODE_RISK_CONTROLLED, calibration=calibration)
    return None


def _generated(connection: Connection, request: api.GenerateRequest) -> Iterable[api.Generated]:
    call = _stub(connection).Generate(request, timeout=LONG_CALL_S)
    try:
        for reply in call:
            yield reply.generated
    except grpc.RpcError as error:
        raise error_from_rpc(error) from None
    finally:
        call.cancel()


@command(inference_optimizer, "models", service=SERVICE)
def models(session: CommandSession) -> None:
    """Models that are loaded, or that a label names."""
    with session.connection() as connection:
        answer = connection.call(_stub(connection).ListModels, api.ListModelsRequest())

    def human() -> None:
        print_table(
            ("model", "labels", "loaded", "bytes", "layers", "context"),
            [
                (
                    model.model,
                    ", ".join(model.labels),
                    "yes" if model.loaded else "no",
                    f"{model.bytes:,}" if model.loaded else "",
                    model.layers or "",
                    model.context_tokens or "",
                )
                for model in answer.models
            ],
        )

    session.emit(_document(answer), human)


@inference_optimizer.command("serve")
@click.option("--endpoint", metavar="HOST:PORT", help="Front to speak for; by default ASSAY_ENDPOINT, or one inside.")
@click.option("--listen", metavar="HOST:PORT", default=HTTP_LISTEN, show_default=True, help="Where to take HTTP calls.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line once it is up.")
def serve(endpoint: str | None, listen: str, as_json: bool) -> None:
    """Serves stored models over HTTP as OpenAI's API does, until Ctrl-C or SIGTERM.

    /v1/models, /v1/completions and /v1/chat/completions, streaming included. `assay serve` serves gRPC. With
    ASSAY_OPENAI_API_KEY set, clients must show it as their API key.
    """
    from assay_inference_optimizer.openai_http.serving import serve_http

    session = CommandSession(SERVICE, endpoint, as_json)
    target = endpoint or endpoint_of(SERVICE)
    platform = None if target else EmbeddedPlatform(session.config)
    if platform is not None:
        target = platform.start()

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address, "base_url": f"http://{address}/v1"})
        else:
            click.echo(f"serving on http://{address}/v1")
            click.echo(f"try: curl http://{address}/v1/models")
        sys.stdout.flush()

    try:
        with suppress(KeyboardInterrupt):  # how uvicorn passes on the signal that it drained for
            serve_http(
                lambda: aio_channel(str(target)),
                listen,
                api_key=os.environ.get("ASSAY_OPENAI_API_KEY", ""),
                on_ready=ready,
            )
    finally:
        if platform is not None:
            platform.stop()


def _run(
    session: CommandSession, connection: Connection, method: str, request: Message, result: Any, title: str
) -> Any:
    with session.progress(title) as progress:
        return connection.run(getattr(_stub(connection), method), request, result, on_progress=progress.operation)


def _sparse(options: dict[str, Any]) -> api.SparseConfig:
    optional = ("damping", "degree", "sink_tokens", "window_tokens", "dense_layers")
    given = {name: options[name] for name in optional if options.get(name) is not None}
    if options.get("density") is not None:
        given["target_density"] = options["density"]
    return api.SparseConfig(
        variant=VARIANTS[options["variant"]],
        selection=SELECTIONS[options.get("method") or "sketch_walk"],
        block_size=options["block_size"] or 0,
        sketch_dim=options["sketch_dim"] or 0,
        density_scope=SCOPES[options["density_scope"]],
        seed=options["seed"],
        **given,
    )


def _text(session: CommandSession, connection: Connection, options: dict[str, Any]) -> api.TextSelection:
    selection = api.TextSelection(
        split=options["split"], sequences=options["sequences"], sequence_tokens=options["sequence_tokens"]
    )
    argument = options["text"]
    if argument and Path(argument).is_file():
        try:
            text = Path(argument).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput("--text", f"{argument} cannot be read as UTF-8 text") from error
        if not text.strip():
            raise InvalidInput("--text", f"{argument} holds no text")
        if len(text) <= LITERAL_CHARACTERS:
            selection.literal = text
            return selection
        row = json.dumps({"text": text, "domain": ""}).encode() + b"\n"
        with session.progress("storing the text") as progress:
            files = {f"{FILE_SPLIT}.jsonl": row}
            selection.text = connection.artifacts.put("text", files, parameters={"source": "file"}, progress=progress)
        selection.split = FILE_SPLIT
        return selection
    with session.progress("storing the text") as progress:
        selection.text = text_artifact(connection.artifacts, argument, progress=progress).digest
    return selection


def _model(session: CommandSession, connection: Connection, argument: str) -> str:
    with session.progress("storing the model") as progress:
        return model_artifact(connection.artifacts, argument, progress=progress).digest


def _stub(connection: Connection) -> Any:
    return inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)


def _document(message: Message, *, without: Sequence[str] = ()) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: value for name, value in document.items() if name not in without}


def _interval(interval: api.Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _blocks(blocks: Sequence[int]) -> str:
    """Runs of consecutive blocks as a - b."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InvalidInput(option, f"is {text!r}; write whole numbers separated by commas") from None
