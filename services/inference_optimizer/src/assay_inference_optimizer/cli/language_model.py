"""`generate`, `models`, `serve`: the models themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click
import grpc

from assay.cli.arguments import MODEL
from assay.cli.session import CommandSession, command, print_json
from assay.cli.tables import print_table
from assay.client.connection import Connection, aio_channel
from assay.client.embedded import EmbeddedPlatform
from assay.client.errors import error_from_rpc
from assay.config import endpoint_of
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.cli.group import SERVICE, inference_optimizer
from assay_inference_optimizer.cli.request import (
    density_option,
    document_of,
    model_digest,
    sparse_config,
    sparse_options,
    stub_of,
)

FINISH_REASONS = {
    api.FINISH_REASON_END: "end",
    api.FINISH_REASON_STOP: "stop",
    api.FINISH_REASON_LENGTH: "length",
}
LONG_CALL_S = 3600.0
HTTP_LISTEN = "127.0.0.1:8000"


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
@density_option(None)
@sparse_options
def generate(session: CommandSession, model: str, prompt: str | None, **options: Any) -> None:
    """Continues a prompt with MODEL, printing as it comes."""
    if prompt is None:
        prompt = sys.stdin.read()
    with session.connection() as connection:
        request = api.GenerateRequest(
            model=model_digest(session, connection, model),
            prompt=api.Prompt(text=prompt),
            sampling=api.Sampling(
                max_new_tokens=options["max_new_tokens"],
                temperature=options["temperature"],
                top_p=options["top_p"],
                top_k=options["top_k"],
                seed=options["sampling_seed"],
                stop=options["stop"],
            ),
            sparse=sparse_config(options) if options["density"] is not None else None,
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
        "tokens": [document_of(token) for token in tokens],
        "usage": document_of(last.usage),
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
    call = stub_of(connection).Generate(request, timeout=LONG_CALL_S)
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
        answer = connection.call(stub_of(connection).ListModels, api.ListModelsRequest())

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

    session.emit(document_of(answer), human)


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
