"""The step that writes traces by weights at hand: a small generator's, or a checkpoint's."""

from __future__ import annotations

from collections.abc import Iterator

from assay.engine.step import StepContext
from assay.models.local import LocalLanguageModel
from assay.tom_verifier.v1 import sampling_pb2 as api
from assay_tom_verifier import kinds
from assay_tom_verifier.engine_asking import SAMPLES, replies, written
from assay_tom_verifier.engine_reading import story_for
from assay_tom_verifier.engine_verifier import network
from assay_tom_verifier.generators.model_writer import ModelWriter
from assay_tom_verifier.generators.network_drafts import network_drafts
from assay_tom_verifier.translate import question_of


def sample(request: api.SampleTracesRequest, context: StepContext) -> Iterator[api.SampleTracesResponse]:
    artifact = request.generator.artifact
    if context.artifacts.manifest(artifact).kind == kinds.MODEL:
        model = LocalLanguageModel(context.artifacts.path(artifact))
        yield from written(ModelWriter(model), request, context)
        return
    generator = network(context.artifacts, artifact)
    story = story_for(request.story, generator)
    drafts = network_drafts(
        generator,
        story,
        question_of(request.question),
        request.samples or SAMPLES,
        temperature=request.temperature if request.HasField("temperature") else 1.0,
        seed=request.seed % 2**63,
        cancel=context.cancel,
    )
    yield from replies(drafts, len(story.lines))
