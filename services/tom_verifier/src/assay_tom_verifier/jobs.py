"""The long methods: which steps each takes, in what order."""

from __future__ import annotations

from typing import TypeVar

from assay.checkup.v1 import checkup_pb2
from assay.operations.job import Job, Run
from assay.tom_verifier.v1 import sensitivity_pb2, tom_verifier_pb2, verifier_pb2
from assay.tom_verifier.v1 import steps_pb2 as own
from assay_tom_verifier import steps

SubjectT = TypeVar(
    "SubjectT",
    sensitivity_pb2.ScanSensitivityRequest,
    sensitivity_pb2.PerturbAndEvaluateRequest,
    sensitivity_pb2.AnalyzeRopeRequest,
)
# Asked of the file that declares the service: no message of it brings that file along, and reflection needs it.
FULL_NAME = str(tom_verifier_pb2.DESCRIPTOR.services_by_name["TomVerifierService"].full_name)


async def train_pbm(run: Run, request: verifier_pb2.TrainPbmRequest) -> verifier_pb2.TrainPbmResult:
    """A generator, a verifier of its traces, and how good that is on fresh ones."""
    if request.base:
        found = await run.step("resolve", steps.RESOLVE, own.ResolveStep(model=request.base))
        asked = verifier_pb2.TrainPbmRequest()
        asked.CopyFrom(request)
        asked.base = found.model
        request = asked
    generator = await run.step("generator", steps.TRAIN_GENERATOR, own.TrainGeneratorStep(request=request))
    verifier = await run.step(
        "verifier",
        steps.TRAIN_VERIFIER,
        own.TrainVerifierStep(request=request, generator=generator.artifact),
    )
    measure = own.MeasureVerifierStep(request=request, generator=generator.artifact, verifier=verifier.artifact)
    return await run.step("measure", steps.MEASURE_VERIFIER, measure)


async def scan_sensitivity(
    run: Run, request: sensitivity_pb2.ScanSensitivityRequest
) -> sensitivity_pb2.ScanSensitivityResult:
    asked = await _resolved(run, request)
    return await run.step("scan", steps.SCAN, asked, model_id=asked.model)


async def perturb_and_evaluate(
    run: Run, request: sensitivity_pb2.PerturbAndEvaluateRequest
) -> sensitivity_pb2.PerturbAndEvaluateResult:
    asked = await _resolved(run, request)
    return await run.step("perturb", steps.PERTURB, asked, model_id=asked.model)


async def analyze_rope(run: Run, request: sensitivity_pb2.AnalyzeRopeRequest) -> sensitivity_pb2.AnalyzeRopeResult:
    asked = await _resolved(run, request)
    return await run.step("rope", steps.ROPE, asked, model_id=asked.model)


async def examine(run: Run, request: checkup_pb2.ExamineRequest) -> checkup_pb2.ExamineResult:
    """The section of a report card: what the model answers about beliefs, alone and with a verifier behind it."""
    probed = await run.step("probe", steps.PROBE_MODEL, own.ProbeModelStep(model=request.model), model_id=request.model)
    write = own.WriteSectionStep(model=probed.model, probe=probed.probe)
    return await run.step("section", steps.WRITE_SECTION, write)


async def _resolved(run: Run, request: SubjectT) -> SubjectT:
    """The request with digests in place of labels, which may move while it runs."""
    text = getattr(request, "text", "")
    found = await run.step("resolve", steps.RESOLVE, own.ResolveStep(model=request.model, text=text))
    asked = type(request)()
    asked.CopyFrom(request)
    asked.model = found.model
    if text:
        setattr(asked, "text", found.text)  # noqa: B010 # an analysis of frequencies reads none
    return asked


TRAIN_PBM = Job(f"/{FULL_NAME}/TrainPbm", verifier_pb2.TrainPbmRequest, verifier_pb2.TrainPbmResult, train_pbm)
SCAN_SENSITIVITY = Job(
    f"/{FULL_NAME}/ScanSensitivity",
    sensitivity_pb2.ScanSensitivityRequest,
    sensitivity_pb2.ScanSensitivityResult,
    scan_sensitivity,
)
PERTURB_AND_EVALUATE = Job(
    f"/{FULL_NAME}/PerturbAndEvaluate",
    sensitivity_pb2.PerturbAndEvaluateRequest,
    sensitivity_pb2.PerturbAndEvaluateResult,
    perturb_and_evaluate,
)
ANALYZE_ROPE = Job(
    f"/{FULL_NAME}/AnalyzeRope",
    sensitivity_pb2.AnalyzeRopeRequest,
    sensitivity_pb2.AnalyzeRopeResult,
    analyze_rope,
)
EXAMINE = Job(
    "/assay.checkup.v1.CheckupService/Examine/tom_verifier",
    checkup_pb2.ExamineRequest,
    checkup_pb2.ExamineResult,
    examine,
)
JOBS = (TRAIN_PBM, SCAN_SENSITIVITY, PERTURB_AND_EVALUATE, ANALYZE_ROPE)
