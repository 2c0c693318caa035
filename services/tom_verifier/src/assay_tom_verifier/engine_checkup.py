"""Steps of the checkup: the model probed, its section written."""

from __future__ import annotations

import torch

from assay.checkup.v1 import checkup_pb2
from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.models.local import LocalLanguageModel
from assay.tom_verifier.v1 import steps_pb2 as own
from assay_tom_verifier import kinds
from assay_tom_verifier.core.belief_probe import DOCUMENT, probe_beliefs
from assay_tom_verifier.section import write_section

STORIES, SAMPLES = 24, 4


def probe_model(request: own.ProbeModelStep, context: StepContext) -> own.ProbeModelReply:
    found = context.artifacts.get(request.model)
    if found.manifest.kind != kinds.MODEL:
        raise InvalidInput("model", f"is an artifact of kind {found.manifest.kind}; give one of kind {kinds.MODEL}")
    model = LocalLanguageModel(context.artifacts.path(found.digest), dtype=torch.float32)
    probed = probe_beliefs(
        model, stories=STORIES, samples=SAMPLES, seed=request.seed, cancel=context.cancel, progress=context.progress
    )
    digest = context.artifacts.put(
        kinds.PROBE,
        {DOCUMENT: probed.to_json()},
        inputs=[found.digest],
        parameters={"model": found.digest, "stories": STORIES, "samples": SAMPLES, "seed": request.seed},
    )
    return own.ProbeModelReply(probe=digest, model=found.digest)


def section(request: own.WriteSectionStep, context: StepContext) -> checkup_pb2.ExamineResult:
    return checkup_pb2.ExamineResult(section=write_section(context.artifacts, request))
