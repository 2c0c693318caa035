"""Steps that train a generator and a verifier, and say how good they are on fresh traces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from google.protobuf import json_format

from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.tom_verifier.v1 import steps_pb2 as own
from assay.tom_verifier.v1 import verifier_pb2 as api
from assay_tom_verifier import kinds
from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.bootstrap import clustered_mean
from assay_tom_verifier.core.verifier.calibration import brier_skill, reliability
from assay_tom_verifier.core.verifier.checkpoint_model import CheckpointVerifier
from assay_tom_verifier.core.verifier.first_error import separation
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.process_belief_model import save_network
from assay_tom_verifier.core.verifier.sample import sample_traces
from assay_tom_verifier.core.verifier.select import Selection, select_all
from assay_tom_verifier.core.verifier.streams import StorySource
from assay_tom_verifier.core.verifier.told_stories import ToldSource
from assay_tom_verifier.core.verifier.train import (
    GENERATORS,
    GeneratorRecipe,
    VerifierRecipe,
    train_generator,
    train_verifier,
)
from assay_tom_verifier.core.verifier.train_checkpoint import (
    checkpoint_scores,
    load_checkpoint_verifier,
    save_checkpoint_verifier,
    train_checkpoint_verifier,
)
from assay_tom_verifier.core.verifier.word_recipes import EVERY_GRAMMAR, WORD_GENERATOR, WordVerifierRecipe
from assay_tom_verifier.core.verifier.words import words_of
from assay_tom_verifier.engine_verifier import judge, network
from assay_tom_verifier.kept_trainings import kept
from assay_tom_verifier.report import Band, accuracy_plot, reliability_plot

VERIFIER, WORD_VERIFIER = VerifierRecipe(), WordVerifierRecipe()
(GENERATOR,) = (recipe for recipe in GENERATORS if recipe.name == "medium")
PACKAGES = ("assay-tom-verifier", "torch")
STORIES, CANDIDATES = 80, 16
# A checkpoint takes a pass for each trace, which may be seconds: enough to see whether it learned.
STORIES_OF_CHECKPOINTS, CANDIDATES_OF_CHECKPOINTS = 8, 8
LEARNING_RATE = 1e-5
# Generators, verifiers and what judges them draw their stories by seeds far apart.
HELD_OUT, OF_CHECKPOINTS = 7_919_000_000, 17_389_000_000


def generator(request: own.TrainGeneratorStep, context: StepContext) -> own.StoredPart:
    asked = request.request
    recipe: GeneratorRecipe = WORD_GENERATOR if _reads_words(asked) else GENERATOR
    schedule = replace(
        recipe.schedule,
        steps=asked.generator_steps or recipe.schedule.steps,
        batch=asked.batch or recipe.schedule.batch,
    )
    recipe = replace(recipe, schedule=schedule, length=asked.length or 1)
    with kept(context.operation_id, "generator") as folder:
        trained = train_generator(
            recipe, seed=asked.seed, cancel=context.cancel, progress=context.progress, checkpoint_dir=folder
        )
    return own.StoredPart(artifact=_put(context, kinds.GENERATOR, _saving(trained), asked, []))


def verifier(request: own.TrainVerifierStep, context: StepContext) -> own.StoredPart:
    asked = request.request
    if asked.base:
        return _checkpoint(request, context)
    recipe: VerifierRecipe = WORD_VERIFIER if _reads_words(asked) else VERIFIER
    steps, batch = asked.steps or recipe.judging.steps, asked.batch or recipe.judging.batch
    reading = max(1, steps * recipe.reading.steps // recipe.judging.steps)
    recipe = replace(
        recipe,
        reading=replace(recipe.reading, steps=reading, batch=batch),
        judging=replace(recipe.judging, steps=steps, batch=batch),
        length=asked.length or 1,
    )
    with kept(context.operation_id, "verifier") as folder:
        trained = train_verifier(
            recipe,
            [network(context.artifacts, request.generator)],
            seed=asked.seed,
            cancel=context.cancel,
            progress=context.progress,
            checkpoint_dir=folder,
        )
    return own.StoredPart(artifact=_put(context, kinds.VERIFIER, _saving(trained), asked, [request.generator]))


def _checkpoint(request: own.TrainVerifierStep, context: StepContext) -> own.StoredPart:
    """The base, taught to judge traces as text."""
    asked = request.request
    try:
        trained = load_checkpoint_verifier(context.artifacts.path(asked.base))
    except InvalidInput as error:
        raise InvalidInput("base", error.violations[0].description) from None
    steps, batch = asked.steps or VERIFIER.judging.steps, asked.batch or VERIFIER.judging.batch
    with kept(context.operation_id, "verifier") as folder:
        train_checkpoint_verifier(
            trained,
            StorySource(OF_CHECKPOINTS + asked.seed, asked.length or 1, in_training=True),
            [network(context.artifacts, request.generator)],
            Schedule(steps, batch, asked.learning_rate or LEARNING_RATE, warmup_steps=max(1, steps // 20)),
            cancel=context.cancel,
            progress=context.progress,
            checkpoint_dir=folder,
        )
    return own.StoredPart(
        artifact=_put(
            context,
            kinds.VERIFIER,
            lambda folder: save_checkpoint_verifier(trained, folder),
            asked,
            [request.generator, asked.base],
        )
    )


def measure(request: own.MeasureVerifierStep, context: StepContext) -> api.TrainPbmResult:
    asked = request.request
    told, candidates = (STORIES_OF_CHECKPOINTS, CANDIDATES_OF_CHECKPOINTS) if asked.base else (STORIES, CANDIDATES)
    source = StorySource(HELD_OUT + asked.seed, asked.length or 1)
    if _reads_words(asked):
        known = words_of(EVERY_GRAMMAR)
        source = ToldSource(source.seed, source.length, grammars=EVERY_GRAMMAR, vocabulary=known)
    questions = source.questions(0, told)
    claims = sample_traces(
        network(context.artifacts, request.generator),
        questions,
        candidates,
        torch.Generator().manual_seed(asked.seed),
        cancel=context.cancel,
    )
    verifier = judge(context.artifacts, request.verifier)
    if isinstance(verifier, CheckpointVerifier):
        scores = checkpoint_scores(verifier, source, questions, claims, context.cancel)
    else:
        scores = verifier.score(questions, claims, context.cancel)
    mask = questions.mask[:, None].expand_as(claims)
    right = ((claims == questions.beliefs[:, None]) | ~mask).cumprod(-1).bool()
    counted = mask.numpy()
    flat_scores, flat_right = scores.numpy()[counted].astype(np.float64), right.numpy()[counted]
    bars = reliability(flat_scores, flat_right)
    quality = api.VerifierQuality(
        auc=separation(scores.numpy().astype(np.float64), right.numpy(), counted).at_first_error,
        brier_skill=brier_skill(flat_scores, flat_right),
        ece=bars.error,
        questions=len(questions),
        steps=int(counted.sum()),
    )
    answers = questions.last_of(claims)
    correct = answers == questions.answers[:, None]
    traces = aggregate(scores, Aggregation.PROD, mask)
    stories = questions.stories.numpy()
    for n in (2**power for power in range(candidates.bit_length())):
        quality.selections.append(_selected(n, answers, correct, traces, questions.answers, stories))
    drawn = {
        "quality.json": json.dumps(
            json_format.MessageToDict(quality, preserving_proto_field_name=True), indent=1, sort_keys=True
        ).encode(),
        "reliability.svg": reliability_plot(bars.scores.tolist(), bars.shares.tolist(), bars.counts.tolist()),
        "accuracy.svg": _accuracy(quality),
    }
    report = context.artifacts.put(kinds.QUALITY, drawn, inputs=[request.generator, request.verifier])
    return api.TrainPbmResult(verifier=request.verifier, generator=request.generator, quality=quality, report=report)


def _selected(
    n: int,
    answers: torch.Tensor,
    correct: torch.Tensor,
    traces: torch.Tensor,
    wanted: torch.Tensor,
    stories: np.ndarray,
) -> api.SelectionQuality:
    """Of the first n candidates of each question; they are drawn alike, so any n would do."""
    found = {}
    for name, how in (("verifier", Selection.VANILLA), ("majority", Selection.MAJORITY)):
        chosen = select_all(answers[:, :n], traces[:, :n], how)
        found[name] = clustered_mean((chosen == wanted).double().numpy(), stories)
    best, most = found["verifier"], found["majority"]
    return api.SelectionQuality(
        candidates=n,
        verifier=best.mean,
        verifier_low=best.low,
        verifier_high=best.high,
        majority=most.mean,
        majority_low=most.low,
        majority_high=most.high,
        oracle=float(correct[:, :n].any(-1).double().mean()),
    )


def _accuracy(quality: api.VerifierQuality) -> bytes:
    rows = quality.selections
    methods = {
        "verifier": Band([r.verifier for r in rows], [r.verifier_low for r in rows], [r.verifier_high for r in rows]),
        "majority": Band([r.majority for r in rows], [r.majority_low for r in rows], [r.majority_high for r in rows]),
    }
    return accuracy_plot([row.candidates for row in rows], methods, [row.oracle for row in rows])


def _reads_words(asked: api.TrainPbmRequest) -> bool:
    return asked.reading == api.LINE_READING_WORDS


def _saving(trained: BeliefNetwork) -> Callable[[Path], None]:
    return lambda folder: save_network(trained, folder)


def _put(
    context: StepContext, kind: str, save: Callable[[Path], None], asked: api.TrainPbmRequest, inputs: list[str]
) -> str:
    parameters = json_format.MessageToDict(
        asked, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    del parameters["request_id"]
    if not asked.base:  # a small network's: neither of these decides it
        del parameters["base"], parameters["learning_rate"]
    if not asked.reading:
        del parameters["reading"]
    versions = {name: metadata.version(name) for name in PACKAGES}
    with tempfile.TemporaryDirectory(prefix="assay-tom-") as folder:
        save(Path(folder) / "network")
        return context.artifacts.put(
            kind, Path(folder) / "network", inputs=inputs, parameters=parameters, versions=versions
        )
