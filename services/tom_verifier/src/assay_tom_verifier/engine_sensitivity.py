"""Steps about parameters that theory of mind rests on: scanned, perturbed, and their rotary frequencies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from google.protobuf import json_format

from assay.artifacts.manifest import Artifact
from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.models.local import LocalLanguageModel
from assay.models.windows import Windows, cut_windows
from assay.tom_verifier.v1 import sensitivity_pb2 as api
from assay.tom_verifier.v1 import steps_pb2 as own
from assay.zoo.corpus import read_split
from assay_tom_verifier import kinds
from assay_tom_verifier.core.sensitivity.answers import Asked, encoded
from assay_tom_verifier.core.sensitivity.controls import general_mask, magnitude_mask, random_mask
from assay_tom_verifier.core.sensitivity.evaluate import Measured, measure, standing, task_scores, tom_score
from assay_tom_verifier.core.sensitivity.parameter_mask import INDICES, SUMMARY, ParameterMask
from assay_tom_verifier.core.sensitivity.perturb import perturbed
from assay_tom_verifier.core.sensitivity.rope import DOCUMENT as ROPE
from assay_tom_verifier.core.sensitivity.rope import RopeAnalysis, analyze_rope
from assay_tom_verifier.core.sensitivity.scan import SAMPLES, scan
from assay_tom_verifier.core.sensitivity.tasks.suite import suite
from assay_tom_verifier.report import Band, frequency_heat_map, mask_size_plot
from assay_tom_verifier.requests import CONTROLS, SHARE

WINDOW_TOKENS, EVALUATED_WINDOWS, ROPE_TEXTS = 128, 64, 32
GENERAL = "general-"  # before the names of a mask's files: as many weights that matter to general text


def resolve(request: own.ResolveStep, context: StepContext) -> own.Resolved:
    text = context.artifacts.resolve(request.text) if request.text else ""
    return own.Resolved(model=context.artifacts.resolve(request.model), text=text)


def scan_model(request: api.ScanSensitivityRequest, context: StepContext) -> api.ScanSensitivityResult:
    model = _model(request.model, context)
    samples = request.samples or SAMPLES
    found = scan(
        model.model,
        model.tokenizer,
        _windows(model, request.text, "calibration", samples, context),
        samples=samples,
        seed=request.seed,
        published=request.compat,
        cancel=context.cancel,
        progress=context.progress,
    )
    answer = api.ScanSensitivityResult()
    for share in request.shares or [SHARE]:
        mask = found.mask(share)
        if not request.compat:  # what the published code masks is as it is
            mask.check_size()
        beside = general_mask(mask, found.general).to_files()
        digest = context.artifacts.put(
            kinds.MASK,
            {**mask.to_files(), **{GENERAL + name: data for name, data in beside.items()}},
            inputs=[request.model, request.text],
            parameters={
                "model": request.model,
                "share": share,
                "samples": samples,
                "seed": request.seed,
                "compat": request.compat,
            },
        )
        answer.masks.add(mask=digest, share=share, masked=mask.masked, parameters=mask.parameters)
    return answer


def perturb(request: api.PerturbAndEvaluateRequest, context: StepContext) -> api.PerturbAndEvaluateResult:
    model = _model(request.model, context)
    masks = [_mask(reference, request.model, context) for reference in request.masks]
    asked = Asked(suite(request.seed), model.tokenizer)
    windows = _windows(model, request.text, "test", EVALUATED_WINDOWS, context)
    controls = request.controls or CONTROLS
    total, done = 1 + len(masks) * (3 + controls), 0

    def scored(name: str, share: float, mask: ParameterMask | None) -> tuple[api.PerturbedScores, Measured]:
        nonlocal done
        found = measure(model.model, asked, windows, mask=mask, cancel=context.cancel)
        done += 1
        context.progress(done, total, "measurements")
        scores = api.PerturbedScores(
            name=name,
            share=share,
            masked=mask.masked if mask else 0,
            tom_score=tom_score(asked.items, found.answers),
            perplexity=found.perplexity,
            tasks={str(task): passed for task, passed in task_scores(asked.items, found.answers).items()},
        )
        return scores, found

    before, measured = scored("none", 0.0, None)
    stands = standing(asked.items, measured.answers)
    result = api.PerturbAndEvaluateResult(before=before, standing=stands.shown(), conclusive=stands.conclusive)
    for artifact, mask, general in masks:
        share = float(str(artifact.manifest.parameters["share"]))
        kinds_of = {"tom": mask, "general": general, "magnitude": magnitude_mask(mask, model.model)}
        kinds_of |= {f"random {seed}": random_mask(mask, request.seed + seed) for seed in range(controls)}
        result.after.extend(scored(name, share, one)[0] for name, one in kinds_of.items())
    files = {
        "perturbation.json": json.dumps(
            json_format.MessageToDict(result, preserving_proto_field_name=True), indent=1, sort_keys=True
        ).encode(),
        "masks.svg": _masks_plot(result),
    }
    digests = [artifact.digest for artifact, _, _ in masks]
    result.perturbation = context.artifacts.put(
        kinds.PERTURBATION,
        files,
        inputs=[request.model, *digests, request.text],
        parameters={"model": request.model, "controls": controls, "seed": request.seed},
    )
    return result


def rope(request: api.AnalyzeRopeRequest, context: StepContext) -> api.AnalyzeRopeResult:
    model = _model(request.model, context)
    texts = [encoded(item.prompt, model.tokenizer) for item in suite(request.seed)[:ROPE_TEXTS]]
    before = analyze_rope(model.model, texts, cancel=context.cancel)
    after = None
    if request.mask:
        _, mask, _ = _mask(request.mask, request.model, context)
        with perturbed(model.model, mask):
            after = analyze_rope(model.model, texts, cancel=context.cancel)
    files = {ROPE: before.to_json(), "frequencies.svg": _heat_map(before)}
    if after is not None:
        files |= {f"after-{ROPE}": after.to_json(), "frequencies-after.svg": _heat_map(after)}
    inputs = [request.model, *([context.artifacts.resolve(request.mask)] if request.mask else [])]
    answer = api.AnalyzeRopeResult(
        analysis=context.artifacts.put(kinds.ROPE, files, inputs=inputs, parameters={"model": request.model})
    )
    for layer, head in _heads(before):
        one = answer.heads.add(
            layer=layer,
            head=head,
            dominant_pair=int(before.dominant[layer, head]),
            first_token_attention=float(before.first_attention[layer, head]),
            query_key_angle=float(before.angle[layer, head]),
        )
        if after is not None:
            one.dominant_pair_after = int(after.dominant[layer, head])
            one.first_token_attention_after = float(after.first_attention[layer, head])
            one.query_key_angle_after = float(after.angle[layer, head])
    return answer


def _model(digest: str, context: StepContext) -> LocalLanguageModel:
    """In float32: gradient squares of half precision vanish."""
    return LocalLanguageModel(context.artifacts.path(digest), dtype=torch.float32)


def _windows(model: LocalLanguageModel, text: str, split: str, count: int, context: StepContext) -> Windows:
    limit = model.capabilities.context_tokens or WINDOW_TOKENS
    rows = read_split(context.artifacts.path(text), split)
    there = cut_windows(rows, model.tokenizer, sequence_tokens=min(WINDOW_TOKENS, limit), cancel=context.cancel)
    if not there.sequences:
        raise InvalidInput("text", f"its split {split} fills no window of {WINDOW_TOKENS} tokens; give more text")
    return there.spread(min(count, there.sequences))


def _mask(reference: str, model: str, context: StepContext) -> tuple[Artifact, ParameterMask, ParameterMask]:
    """The mask and the one of general text beside it."""
    found = context.artifacts.get(reference)
    if found.manifest.kind != kinds.MASK or found.manifest.parameters.get("model") != model:
        raise InvalidInput("masks", "hold what is no mask of this model; scan the model and give what that found")
    files = {name: context.artifacts.read(found.digest, name) for name in (INDICES, SUMMARY)}
    beside = {name: context.artifacts.read(found.digest, GENERAL + name) for name in (INDICES, SUMMARY)}
    return found, ParameterMask.from_files(files), ParameterMask.from_files(beside)


def _masks_plot(result: api.PerturbAndEvaluateResult) -> bytes:
    shares = sorted({one.share for one in result.after})
    names = list(dict.fromkeys(one.name.split()[0] for one in result.after))

    def bands(figure: Callable[[api.PerturbedScores], float]) -> dict[str, Band]:
        found = {}
        for name in names:
            rows = [
                [figure(one) for one in result.after if one.share == share and one.name.split()[0] == name]
                for share in shares
            ]
            found[name] = Band([fmean(row) for row in rows], [min(row) for row in rows], [max(row) for row in rows])
        return found

    return mask_size_plot(shares, bands(lambda one: one.tom_score), bands(lambda one: one.perplexity))


def _heat_map(analysis: RopeAnalysis) -> bytes:
    heads = _heads(analysis)
    norms: Any = analysis.query_norms
    return frequency_heat_map(
        [norms[layer, head].tolist() for layer, head in heads],
        [f"layer {layer} head {head}" for layer, head in heads],
    )


def _heads(analysis: RopeAnalysis) -> Sequence[tuple[int, int]]:
    layers, heads = analysis.angle.shape
    return [(layer, head) for layer in range(layers) for head in range(heads)]
