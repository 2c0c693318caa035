"""What the front asks of the engine; what each step does stands in `engine`."""

from assay.checkup.v1.checkup_pb2 import ExamineResult
from assay.engine.step import Step
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import steps_pb2 as own

RESOLVE = Step("resolve", own.ResolveStep, own.Resolved)
DESCRIBE = Step("describe", api.DescribeModelRequest, api.DescribeModelResponse)
CALIBRATE_SHARD = Step("calibrate_shard", own.CalibrateShardStep, own.StoredPart)
MERGE_STATISTICS = Step("merge_statistics", own.MergeStatisticsStep, api.CalibrateResult)
SCORE_SHARD = Step("score_shard", own.ScoreShardStep, own.StoredPart)
MERGE_IMPORTANCE = Step("merge_importance", own.MergeImportanceStep, api.ScoreImportanceResult)
PLAN = Step("plan", api.PlanReplicateQuantizeRequest, api.PlanReplicateQuantizeResponse)
CLAIM = Step("claim", own.ClaimStep, own.Claimed)
BUILD = Step("build", own.BuildStep, own.StoredPart)
VERIFY = Step("verify", own.VerifyStep, own.Verified)
ACTIVATE = Step("activate", own.ActivateStep, api.ActivePlan)
EVALUATE_SHARD = Step("evaluate_shard", own.EvaluateShardStep, own.StoredPart)
MERGE_EVALUATION = Step("merge_evaluation", own.MergeEvaluationStep, api.EvaluateResult)
WRITE_SECTION = Step("write_section", own.WriteSectionStep, ExamineResult)
