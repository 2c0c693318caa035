"""The heavy work: what each step does, over the science in `core`. Brings torch; imported only where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.numpy import save

from assay.checkup.v1 import checkup_pb2
from assay.engine.host import MESSAGE_BYTES
from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer import answering, exit_steps, kinds, selection_steps, steps
from assay_inference_optimizer.core.attention_benchmark import BenchmarkSettings, run_benchmark
from assay_inference_optimizer.core.sparse.inspect import inspect as inspect_selection
from assay_inference_optimizer.report import block_heat_map
from assay_inference_optimizer.results import document_of, json_of, put_result, windows_of
from assay_inference_optimizer.section import write_section
from assay_inference_optimizer.selection_steps import DEFAULT_LENGTH
from assay_inference_optimizer.serving import MODELS, use_model
from assay_inference_optimizer.translate import (
    benchmark_to_proto,
    inspection_to_proto,
    model_to_proto,
    sparse_of,
)

STEPS_AT_ONCE = 2
DEFAULT_SEQUENCE_TOKENS = 512

# Two steps compute side by side; more threads than cores would make each wait for the other.
torch.set_num_threads(max(1, (os.cpu_count() or 1) // STEPS_AT_ONCE))


def list_models(request: api.ListModelsRequest, context: StepContext) -> api.ListModelsResponse:
    labels: dict[str, list[str]] = {}
    for label in context.artifacts.labels():
        if context.artifacts.manifest(label.digest).kind == kinds.MODEL:
            labels.setdefault(label.digest, []).append(label.name)
    loaded = {served.digest: served for served in MODELS.loaded()}
    answer = api.ListModelsResponse(loaded_bytes=MODELS.used_bytes, budget_bytes=MODELS.limit_bytes)
    for digest in sorted({*labels, *loaded}):
        names = labels.get(digest, [])
        if digest in loaded:
            answer.models.append(model_to_proto(loaded[digest], names))
        else:
            answer.models.add(model=digest, labels=names)
    return answer


def load_model(request: api.LoadModelRequest, context: StepContext) -> api.LoadModelResponse:
    with use_model(context.artifacts, request.model) as served:
        return api.LoadModelResponse(model=model_to_proto(served))


def unload_model(request: api.UnloadModelRequest, context: StepContext) -> api.UnloadModelResponse:
    return api.UnloadModelResponse(unloaded=MODELS.drop(context.artifacts.resolve(request.model)))


def resolve(request: own.ResolveStep, context: StepContext) -> own.Resolved:
    with use_model(context.artifacts, request.model) as served:
        context_tokens = served.context_tokens or DEFAULT_LENGTH
        answer = own.Resolved(
            model=served.digest,
            text=request.text,
            layers=served.layers,
            context_tokens=context_tokens,
            sparse_layers=served.sparse_layers,
        )
    if request.text.text:
        found = context.artifacts.get(request.text.text)
        if found.manifest.kind != kinds.TEXT:
            raise InvalidInput("text.text", f"is an artifact of kind {found.manifest.kind}; give one of kind text")
        answer.text.text = found.digest
    if request.text.sequence_tokens > context_tokens:
        raise InvalidInput(
            "text.sequence_tokens", f"is {request.text.sequence_tokens}; this model reads {context_tokens} tokens"
        )
    longest = min(context_tokens, _trained_tokens(context.artifacts.manifest(answer.model).parameters))
    answer.text.sequence_tokens = request.text.sequence_tokens or longest
    return answer


def _trained_tokens(parameters: Mapping[str, Any]) -> int:
    """Tokens to measure on unless told otherwise: what a model of the zoo was trained on, since longer sequences would
    show how it fails at them; else DEFAULT_SEQUENCE_TOKENS."""
    recipe = parameters.get("recipe")
    if not isinstance(recipe, Mapping):
        return DEFAULT_SEQUENCE_TOKENS
    lengths = [recipe.get("sequence_length"), *(stage.get("sequence_length") for stage in recipe.get("stages") or ())]
    known = [length for length in lengths if isinstance(length, int) and length > 1]
    return min(max(known), DEFAULT_SEQUENCE_TOKENS) if known else DEFAULT_SEQUENCE_TOKENS


def benchmark(request: api.BenchmarkAttentionRequest, context: StepContext) -> api.BenchmarkAttentionResult:
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device == "cuda"
    defaults = BenchmarkSettings()
    settings = BenchmarkSettings(
        phase="decode" if request.phase == api.ATTENTION_PHASE_DECODE else "prefill",
        device=device,
        length=request.length or defaults.length,
        batch=request.batch or defaults.batch,
        query_heads=request.query_heads or (32 if on_gpu else defaults.query_heads),
        kv_heads=request.kv_heads or (8 if on_gpu else defaults.kv_heads),
        head_dim=request.head_dim or (128 if on_gpu else defaults.head_dim),
        dtype=request.dtype or ("bfloat16" if on_gpu else defaults.dtype),
        rounds=request.rounds or defaults.rounds,
    )
    sparse = sparse_of(request.sparse)
    result = run_benchmark(settings, sparse, cancel=context.cancel)
    return benchmark_to_proto(result, settings)


def inspect(request: own.InspectStep, context: StepContext) -> api.InspectSelectionResult:
    with use_model(context.artifacts, request.model) as served:
        sparse = sparse_of(request.sparse)
        served.new_cache(sparse)
        ids = windows_of(served, request.text, context)[0]
        found = inspect_selection(served.model, ids, sparse, cancel=context.cancel)
    result = inspection_to_proto(found)
    scores = {f"layer{layer.layer}": layer.scores for layer in found.layers if layer.scores is not None}
    files = {
        "selection.json": json_of(document_of(result)),
        "scores.safetensors": save(scores),
        "heat-map.svg": block_heat_map(result),
    }
    result.selection = put_result(context, kinds.SELECTION, files, request.model, request.text)
    if result.ByteSize() > MESSAGE_BYTES // 2:
        for layer in result.layers:
            layer.ClearField("query_blocks")
    return result


def section(request: own.WriteSectionStep, context: StepContext) -> checkup_pb2.ExamineResult:
    return checkup_pb2.ExamineResult(section=write_section(context.artifacts, request))


STEPS = {
    steps.GENERATE: answering.generate,
    steps.SCORE: answering.score,
    steps.PREFILL: answering.prefill,
    steps.DECODE: answering.decode,
    steps.CLOSE_SESSION: answering.close_session,
    steps.LIST_MODELS: list_models,
    steps.LOAD_MODEL: load_model,
    steps.UNLOAD_MODEL: unload_model,
    steps.RESOLVE: resolve,
    steps.CUT: selection_steps.cut,
    steps.MEASURE: selection_steps.measure,
    steps.NEXT_SETTINGS: selection_steps.next_settings,
    steps.PLAN: selection_steps.plan,
    steps.COMPARE: selection_steps.compare_selection,
    steps.COUNT_EXITS: exit_steps.count_exits,
    steps.PROFILE: exit_steps.profile_early_exit,
    steps.CALIBRATE: exit_steps.calibrate_early_exit,
    steps.BENCHMARK: benchmark,
    steps.INSPECT: inspect,
    steps.WRITE_SECTION: section,
}
