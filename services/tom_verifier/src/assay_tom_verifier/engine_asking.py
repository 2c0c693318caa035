"""Steps that ask models elsewhere for traces: inference-optimizer's over the mesh, or a hosted one. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from assay.client.connection import connect
from assay.config import endpoint_of
from assay.engine.step import StepContext
from assay.errors import FailedPrecondition
from assay.models.remote import RemoteLanguageModel
from assay.tom_verifier.v1 import sampling_pb2 as api
from assay_tom_verifier.core.stories.parse import split_story
from assay_tom_verifier.core.traces.drafts import read_draft
from assay_tom_verifier.core.traces.prompt import trace_prompt
from assay_tom_verifier.core.traces.writer import Draft, Sampling, TraceWriter
from assay_tom_verifier.generators.hosted import HostedModel
from assay_tom_verifier.generators.hosted_endpoint import HostedEndpoint
from assay_tom_verifier.generators.model_writer import ModelWriter
from assay_tom_verifier.steps import INFERENCE_OPTIMIZER
from assay_tom_verifier.translate import question_of, trace_to_proto

SAMPLES, MAX_TOKENS, TEMPERATURE = 16, 2048, 0.6


def ask_elsewhere(request: api.SampleTracesRequest, context: StepContext) -> Iterator[api.SampleTracesResponse]:
    if request.generator.WhichOneof("generator") == "hosted":
        model = HostedModel(HostedEndpoint.from_environment(), request.generator.hosted)
        yield from written(model, request, context)
        return
    endpoint = endpoint_of(INFERENCE_OPTIMIZER)
    if not endpoint:
        raise FailedPrecondition(
            "generator.artifact: this engine knows no inference-optimizer, and its front does; set "
            "ASSAY_INFERENCE_OPTIMIZER_ENDPOINT for both alike",
            reason="NO_INFERENCE_OPTIMIZER",
        )
    with connect(INFERENCE_OPTIMIZER, endpoint) as connection:
        yield from written(ModelWriter(RemoteLanguageModel(connection, request.generator.artifact)), request, context)


def written(
    writer: TraceWriter, request: api.SampleTracesRequest, context: StepContext
) -> Iterator[api.SampleTracesResponse]:
    """What a model that reads text answers."""
    lines, question = [sentence for _, sentence in split_story(request.story)], question_of(request.question)
    sampling = Sampling(
        request.max_tokens or MAX_TOKENS,
        request.temperature if request.HasField("temperature") else TEMPERATURE,
        request.seed % 2**63,
    )
    drafts = writer.write(trace_prompt(lines, question), request.samples or SAMPLES, sampling, context.cancel)
    return replies(drafts, len(lines))


def replies(drafts: Iterator[Draft], lines: int) -> Iterator[api.SampleTracesResponse]:
    for index, draft in enumerate(drafts):
        read = read_draft(draft, lines)
        reply = api.SampleTracesResponse(index=index, text=draft.text, refused=read.refused, cut=draft.cut)
        if read.trace is not None:
            reply.trace.CopyFrom(trace_to_proto(read.trace))
        yield reply
