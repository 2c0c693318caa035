"""The steps of planning and comparing: a text cut once, every setting measured by itself, then what follows of all."""

from __future__ import annotations

from collections.abc import Iterable

from assay.engine.step import StepContext
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.sparse.config import SparseConfig
from assay_inference_optimizer.core.sparse.plan_sparsity import (
    SparsityPlan,
    check_sequences,
    resumed,
    search_for,
)
from assay_inference_optimizer.core.sparse.quality import SequenceLosses, compare, sequence_losses
from assay_inference_optimizer.core.sparse.speed import predict_speed
from assay_inference_optimizer.results import (
    document_of,
    json_of,
    put,
    put_result,
    put_windows,
    read_windows,
    windows_of,
)
from assay_inference_optimizer.serving import use_model
from assay_inference_optimizer.translate import (
    METHODS,
    comparison_to_proto,
    plan_to_proto,
    sparse_of,
    sparse_to_json,
    sparse_to_proto,
)

LOSSES_FILE = "losses.json"
DEFAULT_LENGTH = 4096  # of prompts that speed is predicted for, where a model sets no limit


def cut(request: own.CutStep, context: StepContext) -> own.Windows:
    with use_model(context.artifacts, request.model) as served:
        ids = windows_of(served, request.text, context)
    return own.Windows(artifact=put_windows(context, ids, request.model, request.text), sequences=len(ids))


def measure(request: own.MeasureStep, context: StepContext) -> own.Measured:
    sparse = sparse_of(request.sparse)
    with use_model(context.artifacts, request.model) as served:
        served.new_cache(sparse)  # refuses settings that do not fit, by their names in the request
        ids = read_windows(request.windows, context)
        losses = sequence_losses(served.model, ids, sparse, cancel=context.cancel, progress=context.progress)
    artifact = put(
        context,
        kinds.LOSSES,
        {LOSSES_FILE: losses.to_json()},
        [request.model, request.windows],
        {"sparse": sparse_to_json(sparse)},
    )
    return own.Measured(artifact=artifact)


def next_settings(request: own.PlanStep, context: StepContext) -> own.NextSettings:
    found = _searched(request, context)
    return own.NextSettings(settings=[] if isinstance(found, SparsityPlan) else map(sparse_to_proto, found))


def plan(request: own.PlanStep, context: StepContext) -> api.PlanSparsityResult:
    found = _searched(request, context)
    assert isinstance(found, SparsityPlan)
    with use_model(context.artifacts, request.model) as served:
        length = request.length or served.context_tokens or DEFAULT_LENGTH
        speed = predict_speed(served.model, found.sparse, found.layer_density, length)
    result = plan_to_proto(found, speed, request.sequences, request.text.sequence_tokens)
    document = document_of(result) | {"max_loss_increase_nats": request.max_loss_increase_nats}
    result.plan = put_result(context, kinds.PLAN, {"plan.json": json_of(document)}, request.model, request.text)
    return result


def compare_selection(request: own.CompareStep, context: StepContext) -> api.CompareSelectionResult:
    losses = _read(request.losses, context)
    methods = [METHODS[selection] for selection in request.selections]
    compared = compare(dict(zip(methods, losses, strict=True)))
    result = comparison_to_proto(compared, losses[0].nats.size, request.text.sequence_tokens)
    files = {"comparison.json": json_of(document_of(result))}
    result.comparison = put_result(context, kinds.COMPARISON, files, request.model, request.text)
    return result


def _searched(request: own.PlanStep, context: StepContext) -> list[SparseConfig] | SparsityPlan:
    check_sequences(request.sequences)
    with use_model(context.artifacts, request.model) as served:
        sparse = sparse_of(request.sparse)
        served.new_cache(sparse)
        search = search_for(served.model, sparse, request.max_loss_increase_nats)
        return resumed(search, _read(request.losses, context))


def _read(losses: Iterable[str], context: StepContext) -> list[SequenceLosses]:
    return [SequenceLosses.from_json(context.artifacts.read(one, LOSSES_FILE)) for one in losses]
