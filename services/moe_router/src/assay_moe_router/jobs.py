"""The long methods: which steps each takes, in what order."""

from __future__ import annotations

from collections.abc import Iterator

from assay.checkup.v1 import checkup_pb2
from assay.errors import FailedPrecondition
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import steps_pb2 as own
from assay.operations.job import Job, Run
from assay_moe_router import steps
from assay_moe_router.requests import SEQUENCE_TOKENS, metric_of, resamples_of, selection

FULL_NAME = "assay.moe_router.v1.MoeRouterService"
SHARD_SEQUENCES = 64
SHARD_EXPERTS = 8
EXAMINED_SEQUENCES = {"calibration": 96, "test": 256}
LEAST_SEQUENCES = {"calibration": 2, "test": 2}  # an interval needs two
LEAVE_ONE_OUT = (api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS, api.IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY)


async def calibrate(run: Run, request: api.CalibrateRequest) -> api.CalibrateResult:
    """Shards over sequences, then their sum."""
    text = selection(request.text, "calibration")
    found = await _resolve(run, request.model, text)
    text.text = found.text
    shards = [
        own.CalibrateShardStep(model=found.model, text=text, first_sequence=first, last_sequence=last)
        for first, last in _ranges(text)
    ]
    parts = await run.map("shard", steps.CALIBRATE_SHARD, shards, model_id=found.model)
    merge = own.MergeStatisticsStep(model=found.model, text=text, parts=[part.artifact for part in parts])
    return await run.step("merge", steps.MERGE_STATISTICS, merge, model_id=found.model)


async def score_importance(run: Run, request: api.ScoreImportanceRequest) -> api.ScoreImportanceResult:
    """Shards over experts where they are left out one by one; else a single pass."""
    text, metric = selection(request.text, "calibration"), metric_of(request)
    found = await _resolve(run, request.model, text)
    text.text = found.text
    shards = [own.ScoreShardStep(model=found.model, text=text, metric=metric)]
    if metric in LEAVE_ONE_OUT:
        described = await run.step(
            "describe", steps.DESCRIBE, api.DescribeModelRequest(model=found.model), model_id=found.model
        )
        shards = [
            own.ScoreShardStep(
                model=found.model,
                text=text,
                metric=metric,
                layer=layer.layer,
                first_expert=first,
                last_expert=min(first + SHARD_EXPERTS, layer.experts),
            )
            for layer in described.layers
            for first in range(0, layer.experts, SHARD_EXPERTS)
        ]
    parts = await run.map("shard", steps.SCORE_SHARD, shards, model_id=found.model)
    merge = own.MergeImportanceStep(
        model=found.model, text=text, metric=metric, parts=[part.artifact for part in parts]
    )
    return await run.step("merge", steps.MERGE_IMPORTANCE, merge)


async def apply_plan(run: Run, request: api.ApplyPlanRequest) -> api.ApplyPlanResult:
    """Build, verify on a probe batch, then move the pointer; nothing is active before the last step."""
    claim = own.ClaimStep(plan=request.plan, expected_epoch=request.expected_epoch)
    claimed = await run.step("claim", steps.CLAIM, claim)
    if claimed.HasField("already"):
        built = own.StoredPart(artifact=claimed.already.balanced_model)
    else:
        built = await run.step("build", steps.BUILD, own.BuildStep(plan=request.plan), model_id=claimed.model)
    verified = await run.step(
        "verify", steps.VERIFY, own.VerifyStep(balanced_model=built.artifact), model_id=claimed.model
    )
    active = claimed.already
    if not claimed.HasField("already"):
        activate = own.ActivateStep(
            model=claimed.model, plan=claimed.plan, balanced_model=built.artifact, epoch=claimed.epoch
        )
        active = await run.step("activate", steps.ACTIVATE, activate, no_return=True)
    return api.ApplyPlanResult(
        balanced_model=built.artifact,
        epoch=active.epoch,
        bytes_before=verified.bytes_before,
        bytes_after=verified.bytes_after,
        probe_max_abs_difference=verified.probe_max_abs_difference,
        probe_mean_divergence_nats=verified.probe_mean_divergence_nats,
    )


async def evaluate(run: Run, request: api.EvaluateRequest) -> api.EvaluateResult:
    """Shards over sequences; what is resampled are sequences, once all are there."""
    text, resamples = selection(request.text, "test"), resamples_of(request)
    found = await _resolve(run, request.balanced_model, text)
    text.text = found.text
    shards = [
        own.EvaluateShardStep(balanced_model=found.model, text=text, first_sequence=first, last_sequence=last)
        for first, last in _ranges(text)
    ]
    parts = await run.map("shard", steps.EVALUATE_SHARD, shards, model_id=found.model)
    merge = own.MergeEvaluationStep(
        balanced_model=found.model,
        text=text,
        bootstrap_resamples=resamples,
        seed=request.seed,
        parts=[part.artifact for part in parts],
    )
    return await run.step("merge", steps.MERGE_EVALUATION, merge)


async def examine(run: Run, request: checkup_pb2.ExamineRequest) -> checkup_pb2.ExamineResult:
    """The section of a report card: all of the above on one model. The active plan is left alone."""
    ask = own.ResolveStep(
        model=request.model, text=request.text, splits=list(EXAMINED_SEQUENCES), sequence_tokens=SEQUENCE_TOKENS
    )
    await run.step("describe", steps.DESCRIBE, api.DescribeModelRequest(model=request.model), model_id=request.model)
    found = await run.step("resolve", steps.RESOLVE, ask)
    selections = {
        split: api.TextSelection(text=found.text, split=split, sequences=min(wanted, found.sequences[split]))
        for split, wanted in EXAMINED_SEQUENCES.items()
    }
    for split, least in LEAST_SEQUENCES.items():
        if selections[split].sequences < least:
            raise FailedPrecondition(
                f"text: its split {split} holds {selections[split].sequences} windows of {SEQUENCE_TOKENS} tokens, "
                f"{least} are needed; give more text"
            )
    statistics = await calibrate(
        run.scope("calibrate"), api.CalibrateRequest(model=found.model, text=selections["calibration"])
    )
    importance = await score_importance(
        run.scope("importance"), api.ScoreImportanceRequest(model=found.model, text=selections["calibration"])
    )
    plan = await run.step(
        "plan",
        steps.PLAN,
        api.PlanReplicateQuantizeRequest(
            statistics=statistics.statistics, importance=importance.importance, policy=api.PLAN_POLICY_TARGET_LIS
        ),
    )
    built = await run.step("build", steps.BUILD, own.BuildStep(plan=plan.plan), model_id=found.model)
    await run.step("verify", steps.VERIFY, own.VerifyStep(balanced_model=built.artifact), model_id=found.model)
    evaluation = await evaluate(
        run.scope("evaluate"), api.EvaluateRequest(balanced_model=built.artifact, text=selections["test"])
    )
    write = own.WriteSectionStep(
        model=found.model,
        statistics=statistics.statistics,
        importance=importance.importance,
        plan=plan.plan,
        evaluation=evaluation.evaluation,
    )
    return await run.step("section", steps.WRITE_SECTION, write)


async def _resolve(run: Run, model: str, text: api.TextSelection) -> own.Resolved:
    return await run.step("resolve", steps.RESOLVE, own.ResolveStep(model=model, text=text.text))


def _ranges(text: api.TextSelection) -> Iterator[tuple[int, int]]:
    """Shards of whole batches, so that sharding moves no sequence into another batch."""
    size = max(1, SHARD_SEQUENCES // text.batch_sequences) * text.batch_sequences
    for first in range(0, text.sequences, size):
        yield first, min(first + size, text.sequences)


CALIBRATE = Job(f"/{FULL_NAME}/Calibrate", api.CalibrateRequest, api.CalibrateResult, calibrate)
SCORE_IMPORTANCE = Job(
    f"/{FULL_NAME}/ScoreImportance", api.ScoreImportanceRequest, api.ScoreImportanceResult, score_importance
)
APPLY_PLAN = Job(f"/{FULL_NAME}/ApplyPlan", api.ApplyPlanRequest, api.ApplyPlanResult, apply_plan)
EVALUATE = Job(f"/{FULL_NAME}/Evaluate", api.EvaluateRequest, api.EvaluateResult, evaluate)
EXAMINE = Job(
    "/assay.checkup.v1.CheckupService/Examine/moe_router",
    checkup_pb2.ExamineRequest,
    checkup_pb2.ExamineResult,
    examine,
)
