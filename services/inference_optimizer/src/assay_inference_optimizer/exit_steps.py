"""The steps of profiling and calibrating early exit: answers counted window by window, then what follows of all."""

from __future__ import annotations

from collections.abc import Iterable

from assay.engine.step import StepContext
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds, calibrate, plug_in, prompt_losses
from assay_inference_optimizer.core.early_exit.curves import saving
from assay_inference_optimizer.core.early_exit.exit_profile import ARRAYS, SUMMARY, ExitProfile
from assay_inference_optimizer.core.early_exit.profile import profile
from assay_inference_optimizer.core.early_exit.token_classes import token_classes
from assay_inference_optimizer.results import document_of, json_of, put, put_result, read_windows
from assay_inference_optimizer.serving import use_model
from assay_inference_optimizer.translate import (
    RULES,
    calibration_to_proto,
    profile_to_proto,
    sparse_of,
    sparse_to_json,
    sparse_to_proto,
)

PROFILE_BATCH = 8


def count_exits(request: own.CountExitsStep, context: StepContext) -> own.ExitCounts:
    sparse = sparse_of(request.sparse) if request.HasField("sparse") else None
    with use_model(context.artifacts, request.model) as served:
        served.new_cache(sparse)  # refuses settings that do not fit, by their names in the request
        ids = read_windows(request.windows, context)[request.first : request.first + request.sequences]
        found = profile(
            served.model,
            ids.split(PROFILE_BATCH),
            classes=token_classes(served.tokenizer, served.vocabulary),
            exit_layers=list(request.exit_layers) or None,
            skip=request.skip_tokens,
            sparse=sparse,
            cancel=context.cancel,
            progress=lambda done, total, unit="", **figures: context.progress(done, len(ids), unit, **figures),
        )
    parameters = {
        "first": request.first,
        "sequences": len(ids),
        "skip_tokens": request.skip_tokens,
        "sparse": sparse_to_json(sparse),
    }
    inputs = [request.model, request.windows]
    return own.ExitCounts(artifact=put(context, kinds.EXIT_COUNTS, found.to_files(), inputs, parameters))


def profile_early_exit(request: own.ProfileStep, context: StepContext) -> api.ProfileEarlyExitResult:
    found = _merged(request.counts, context)
    result = profile_to_proto(found)
    files = {**found.to_files(), "profile.json": json_of(document_of(result))}
    result.profile = put_result(context, kinds.PROFILE, files, request.model, request.text)
    return result


def calibrate_early_exit(request: own.CalibrateStep, context: StepContext) -> api.CalibrateEarlyExitResult:
    found = _merged(request.counts, context)
    sparse = sparse_of(request.sparse) if request.HasField("sparse") else None
    tried = [RULES[request.rule]] if request.rule else list(found.rules)
    delta = request.delta / len(tried)
    thresholds = [
        calibrate(found, model=request.model, rule=rule, epsilon=request.epsilon, delta=delta, sparse=sparse)
        for rule in tried
    ]
    best = max(thresholds, key=lambda one: one.gross)
    result = calibration_to_proto(best, _plug_in_saving(found, best))
    result.delta = request.delta
    if sparse is not None:
        result.sparse.CopyFrom(sparse_to_proto(sparse))
    files = {"thresholds.json": best.to_json(), **found.to_files()}
    result.calibration = put_result(context, kinds.THRESHOLDS, files, request.model, request.text)
    return result


def _merged(counts: Iterable[str], context: StepContext) -> ExitProfile:
    def read(digest: str) -> ExitProfile:
        return ExitProfile.from_files({name: context.artifacts.read(digest, name) for name in (ARRAYS, SUMMARY)})

    return ExitProfile.merge([read(digest) for digest in counts])


def _plug_in_saving(found: ExitProfile, thresholds: Thresholds) -> float:
    index = plug_in(prompt_losses(found, thresholds.rule), thresholds.epsilon)
    if index is None:
        return 0.0
    sums, tokens = found.rules[thresholds.rule], found.tokens.sum()
    depth, heads = (float(each[:, index].sum() / tokens) for each in (sums.depth, sums.heads))
    return saving(found, depth, heads).gross
