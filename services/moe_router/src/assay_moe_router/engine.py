"""The heavy work: what each step does, over the science in `core`. Brings torch; imported only where it runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from assay.checkup.v1 import checkup_pb2
from assay.engine.step import StepContext
from assay.errors import Aborted, InvalidInput
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.windows import Windows, check_size, cut_windows
from assay.moe_router.v1 import moe_router_pb2 as api
from assay.moe_router.v1 import steps_pb2 as own
from assay.zoo.corpus import read_split
from assay_moe_router import active_plan, kinds, steps, stored
from assay_moe_router.core.evaluate import Measured, evaluate, measure
from assay_moe_router.core.export import expert_file_bytes, read_balanced, write_balanced
from assay_moe_router.core.importance import Importance
from assay_moe_router.core.layers import describe
from assay_moe_router.core.leave_one_out import leave_one_out
from assay_moe_router.core.one_pass import one_pass
from assay_moe_router.core.packed_experts import expert_bytes
from assay_moe_router.core.predictions import counted, predictions
from assay_moe_router.core.replicate_quantize import DEFAULT_TARGET, plan_replicate_quantize
from assay_moe_router.core.routing import observe
from assay_moe_router.core.statistics import RoutingStatistics
from assay_moe_router.core.verify import verify
from assay_moe_router.loaded_models import LoadedModels
from assay_moe_router.section import write_section
from assay_moe_router.translate import (
    METRICS,
    POLICIES,
    activation_to_proto,
    evaluation_to_proto,
    importance_to_proto,
    layout_to_proto,
    plan_to_proto,
    statistics_to_proto,
)

SHARDS_AT_ONCE = 2
PROBE_SEQUENCES = 4

# Two shards compute side by side; more threads than cores would make each wait for the other.
torch.set_num_threads(max(1, (os.cpu_count() or 1) // SHARDS_AT_ONCE))

MODELS = LoadedModels()
TEXTS = LoadedModels()


def resolve(request: own.ResolveStep, context: StepContext) -> own.Resolved:
    found = own.Resolved(
        model=context.artifacts.resolve(request.model),
        text=stored.expect(context.artifacts, request.text, kinds.TEXT, "text").digest,
    )
    for split in request.splits:
        with _all_windows(context, found.model, found.text, split, request.sequence_tokens) as windows:
            found.sequences[split] = windows.sequences
    return found


def describe_model(request: api.DescribeModelRequest, context: StepContext) -> api.DescribeModelResponse:
    model = stored.expect(context.artifacts, request.model, kinds.MODEL, "model")
    with MODELS.borrow(f"{model.digest} stored", lambda: load_model(context.artifacts.path(model.digest))) as loaded:
        return layout_to_proto(describe(loaded), model.digest)


def calibrate_shard(request: own.CalibrateShardStep, context: StepContext) -> own.StoredPart:
    windows = _windows(context, request.model, request.text, request.first_sequence, request.last_sequence)
    advance = counted(windows.sequences, context.progress)
    with MODELS.borrow(request.model, lambda: _computing(context, request.model)) as model, observe(model) as observer:

        def progress(sequences: int, **figures: float) -> None:
            advance(sequences, **figures, worst_lis=observer.worst_imbalance())

        predictions(model, windows, request.text.batch_sequences, cancel=context.cancel, progress=progress)
        return _part(context, observer.statistics().to_files())


def merge_statistics(request: own.MergeStatisticsStep, context: StepContext) -> api.CalibrateResult:
    parts = [RoutingStatistics.from_files(stored.read_part(context.artifacts, part)) for part in request.parts]
    merged = RoutingStatistics.merge(parts)
    path = context.artifacts.path(request.model)
    with MODELS.borrow(f"{request.model} stored", lambda: load_model(path)) as model:
        layout = describe(model)
    digest = stored.put_statistics(context.artifacts, request.model, request.text, merged, layout)
    return statistics_to_proto(digest, merged)


def score_shard(request: own.ScoreShardStep, context: StepContext) -> own.StoredPart:
    windows = _windows(context, request.model, request.text, 0, request.text.sequences)
    metric = METRICS[request.metric]
    batch, cancel, progress = request.text.batch_sequences, context.cancel, context.progress
    with MODELS.borrow(request.model, lambda: _computing(context, request.model)) as model:
        if metric.leaves_out:
            experts = range(request.first_expert, request.last_expert)
            scores = leave_one_out(
                model, windows, metric, request.layer, experts, batch=batch, cancel=cancel, progress=progress
            )
        else:
            scores = one_pass(model, windows, metric, batch=batch, cancel=cancel, progress=progress)
    return _part(context, scores.to_files())


def merge_importance(request: own.MergeImportanceStep, context: StepContext) -> api.ScoreImportanceResult:
    parts = [Importance.from_files(stored.read_part(context.artifacts, part)) for part in request.parts]
    merged = Importance.merge(parts)
    digest = stored.put_importance(context.artifacts, request.model, request.text, merged)
    return importance_to_proto(digest, merged)


def plan(request: api.PlanReplicateQuantizeRequest, context: StepContext) -> api.PlanReplicateQuantizeResponse:
    statistics = stored.read_statistics(context.artifacts, request.statistics)
    importance_digest, importance_model, importance = stored.read_importance(context.artifacts, request.importance)
    stored.check_same_model(statistics.model, importance_model)
    made = plan_replicate_quantize(
        statistics.model,
        statistics.statistics,
        importance,
        {layer.layer: expert_bytes(layer) for layer in statistics.layout.layers},
        policy=POLICIES[request.policy],
        target_load_imbalance=request.target_load_imbalance or DEFAULT_TARGET,
        bits=tuple(request.bits) or (8,),
        budget_bytes=request.budget_bytes,
        exact=request.exact,
    )
    return plan_to_proto(stored.put_plan(context.artifacts, made, statistics.digest, importance_digest), made)


def claim(request: own.ClaimStep, context: StepContext) -> own.Claimed:
    found = stored.read_plan(context.artifacts, request.plan)
    model = found.plan.model
    active_plan.claim(context.artifacts, model, context.operation_id)
    now = active_plan.standing(context.artifacts, model).activation
    if request.expected_epoch and now.epoch != request.expected_epoch:
        raise Aborted(
            f"expected_epoch: is {request.expected_epoch}, the active plan's epoch is {now.epoch}; read it again and "
            "decide anew",
            reason="STALE_EPOCH",
        )
    claimed = own.Claimed(model=model, epoch=now.epoch, plan=found.digest)
    if now.plan == found.digest:
        claimed.already.CopyFrom(activation_to_proto(now))
    return claimed


def build(request: own.BuildStep, context: StepContext) -> own.StoredPart:
    found = stored.read_plan(context.artifacts, request.plan)
    checkpoint = context.artifacts.path(found.plan.model)
    with tempfile.TemporaryDirectory(prefix="assay-balanced-") as folder:
        destination = Path(folder) / "model"
        with MODELS.borrow(f"{found.plan.model} stored", lambda: load_model(checkpoint)) as model:
            write_balanced(checkpoint, model, found.plan, destination, cancel=context.cancel, progress=context.progress)
        digest = context.artifacts.put(
            kinds.BALANCED,
            destination,
            inputs=[found.plan.model, found.digest],
            parameters={"model": found.plan.model, "plan": found.digest},
            versions=stored.versions(),
        )
    return own.StoredPart(artifact=digest)


def verify_balanced(request: own.VerifyStep, context: StepContext) -> own.Verified:
    found = stored.plan_of_balanced(context.artifacts, request.balanced_model)
    text = stored.read_statistics(context.artifacts, found.statistics).text
    probe = _windows(context, found.plan.model, text, 0, min(PROBE_SEQUENCES, text.sequences))
    path = context.artifacts.path(request.balanced_model)
    with (
        MODELS.borrow(found.plan.model, lambda: _computing(context, found.plan.model)) as original,
        MODELS.borrow(request.balanced_model, lambda: read_balanced(path)) as balanced,
    ):
        result = verify(original, balanced, probe)
    return own.Verified(
        probe_max_abs_difference=result.max_abs_difference,
        probe_mean_divergence_nats=result.mean_divergence_nats,
        bytes_before=found.plan.bytes_before,
        bytes_after=expert_file_bytes(path),
    )


def activate(request: own.ActivateStep, context: StepContext) -> api.ActivePlan:
    activation = active_plan.activate(
        context.artifacts,
        request.model,
        plan=request.plan,
        balanced_model=request.balanced_model,
        epoch=request.epoch,
        operation=context.operation_id,
    )
    return activation_to_proto(activation)


def evaluate_shard(request: own.EvaluateShardStep, context: StepContext) -> own.StoredPart:
    found = stored.plan_of_balanced(context.artifacts, request.balanced_model)
    model = found.plan.model
    windows = _windows(context, model, request.text, request.first_sequence, request.last_sequence)
    path = context.artifacts.path(request.balanced_model)
    with (
        MODELS.borrow(model, lambda: _computing(context, model)) as original,
        MODELS.borrow(request.balanced_model, lambda: read_balanced(path)) as balanced,
    ):
        measured = measure(
            original,
            balanced,
            windows,
            batch=request.text.batch_sequences,
            cancel=context.cancel,
            progress=context.progress,
        )
    return _part(context, {stored.MEASURED: measured.to_json()})


def merge_evaluation(request: own.MergeEvaluationStep, context: StepContext) -> api.EvaluateResult:
    parts = [Measured.from_json(stored.read_part(context.artifacts, part)[stored.MEASURED]) for part in request.parts]
    measured = Measured.merge(parts)
    found = stored.plan_of_balanced(context.artifacts, request.balanced_model)
    evaluation = evaluate(measured, found.plan, resamples=request.bootstrap_resamples, seed=request.seed)
    digest = stored.put_evaluation(
        context.artifacts,
        request.balanced_model,
        request.text,
        evaluation,
        measured,
        resamples=request.bootstrap_resamples,
        seed=request.seed,
    )
    return evaluation_to_proto(digest, evaluation)


def section(request: own.WriteSectionStep, context: StepContext) -> checkup_pb2.ExamineResult:
    return checkup_pb2.ExamineResult(section=write_section(context.artifacts, request))


def _computing(context: StepContext, model: str) -> PreTrainedModel:
    """The model as it computes: its stored weights, in float32."""
    return load_model(context.artifacts.path(model), dtype=torch.float32)


def _windows(context: StepContext, model: str, text: api.TextSelection, first: int, last: int) -> Windows:
    check_size(text.sequences, text.sequence_tokens)
    with _all_windows(context, model, text.text, text.split, text.sequence_tokens) as windows:
        chosen = windows.spread(text.sequences)
    if not 0 <= first < last <= chosen.sequences:
        raise InvalidInput("first_sequence, last_sequence", f"must lie in 0 to {chosen.sequences}")
    return chosen.part(first, last)


@contextmanager
def _all_windows(context: StepContext, model: str, text: str, split: str, sequence_tokens: int) -> Iterator[Windows]:
    """A whole split in this model's tokens; shards that follow find it tokenized."""

    def cut() -> Windows:
        return cut_windows(
            read_split(context.artifacts.path(text), split),
            load_tokenizer(context.artifacts.path(model)),
            sequence_tokens=sequence_tokens,
            cancel=context.cancel,
        )

    with TEXTS.borrow(f"{model} {text} {split} {sequence_tokens}", cut) as windows:
        yield windows


def _part(context: StepContext, files: dict[str, bytes]) -> own.StoredPart:
    return own.StoredPart(artifact=context.artifacts.put(kinds.PART, files))


STEPS = {
    steps.RESOLVE: resolve,
    steps.DESCRIBE: describe_model,
    steps.CALIBRATE_SHARD: calibrate_shard,
    steps.MERGE_STATISTICS: merge_statistics,
    steps.SCORE_SHARD: score_shard,
    steps.MERGE_IMPORTANCE: merge_importance,
    steps.PLAN: plan,
    steps.CLAIM: claim,
    steps.BUILD: build,
    steps.VERIFY: verify_balanced,
    steps.ACTIVATE: activate,
    steps.EVALUATE_SHARD: evaluate_shard,
    steps.MERGE_EVALUATION: merge_evaluation,
    steps.WRITE_SECTION: section,
}
