"""Steps that train a generator and a verifier, and say how good they are on fresh traces."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import platformdirs
import torch
from google.protobuf import json_format

from assay.engine.step import StepContext
from assay.tom_verifier.v1 import steps_pb2 as own
from assay.tom_verifier.v1 import verifier_pb2 as api
from assay_tom_verifier import kinds
from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate
from assay_tom_verifier.core.verifier.bootstrap import clustered_mean
from assay_tom_verifier.core.verifier.calibration import brier_skill, reliability
from assay_tom_verifier.core.verifier.first_error import separation
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, save_network
from assay_tom_verifier.core.verifier.sample import sample_traces
from assay_tom_verifier.core.verifier.select import Selection, select_all
from assay_tom_verifier.core.verifier.streams import StorySource
from assay_tom_verifier.core.verifier.train import GENERATORS, VerifierRecipe, train_generator, train_verifier
from assay_tom_verifier.engine_verifier import network
from assay_tom_verifier.report import Band, accuracy_plot, reliability_plot

VERIFIER = VerifierRecipe()
(GENERATOR,) = (recipe for recipe in GENERATORS if recipe.name == "medium")
PACKAGES = ("assay-tom-verifier", "torch")
STORIES, CANDIDATES = 80, 16
# Generators, verifiers and what judges them draw their stories by seeds far apart.
HELD_OUT = 7_919_000_000


def generator(request: own.TrainGeneratorStep, context: StepContext) -> own.StoredPart:
    asked = request.request
    schedule = replace(
        GENERATOR.schedule,
        steps=asked.generator_steps or GENERATOR.schedule.steps,
        batch=asked.batch or GENERATOR.schedule.batch,
    )
    recipe = replace(GENERATOR, schedule=schedule, length=asked.length or 1)
    with _checkpoints(context, "generator") as folder:
        trained = train_generator(
            recipe, seed=asked.seed, cancel=context.cancel, progress=context.progress, checkpoint_dir=folder
        )
    return own.StoredPart(artifact=_put(context, kinds.GENERATOR, trained, asked, []))


def verifier(request: own.TrainVerifierStep, context: StepContext) -> own.StoredPart:
    asked = request.request
    steps, batch = asked.steps or VERIFIER.judging.steps, asked.batch or VERIFIER.judging.batch
    reading = max(1, steps * VERIFIER.reading.steps // VERIFIER.judging.steps)
    recipe = replace(
        VERIFIER,
        reading=replace(VERIFIER.reading, steps=reading, batch=batch),
        judging=replace(VERIFIER.judging, steps=steps, batch=batch),
        length=asked.length or 1,
    )
    with _checkpoints(context, "verifier") as folder:
        trained = train_verifier(
            recipe,
            [network(context.artifacts, request.generator)],
            seed=asked.seed,
            cancel=context.cancel,
            progress=context.progress,
            checkpoint_dir=folder,
        )
    return own.StoredPart(artifact=_put(context, kinds.VERIFIER, trained, asked, [request.generator]))


def measure(request: own.MeasureVerifierStep, context: StepContext) -> api.TrainPbmResult:
    asked = request.request
    questions = StorySource(HELD_OUT + asked.seed, asked.length or 1).questions(0, STORIES)
    claims = sample_traces(
        network(context.artifacts, request.generator),
        questions,
        CANDIDATES,
        torch.Generator().manual_seed(asked.seed),
        cancel=context.cancel,
    )
    judge = ProcessBeliefModel(network(context.artifacts, request.verifier))
    scores = judge.score(questions, claims, context.cancel)
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
    for n in (2**power for power in range(CANDIDATES.bit_length())):
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


@contextmanager
def _checkpoints(context: StepContext, part: str) -> Iterator[Path]:
    """A folder of the operation's own in which a step that was cut off finds what it had; gone once it is through."""
    name = hashlib.sha256(context.operation_id.encode()).hexdigest()[:32]
    folder = Path(platformdirs.user_cache_dir("assay")) / "tom-verifier" / name / part
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _put(context: StepContext, kind: str, trained: BeliefNetwork, asked: api.TrainPbmRequest, inputs: list[str]) -> str:
    parameters = json_format.MessageToDict(
        asked, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    del parameters["request_id"]
    versions = {name: metadata.version(name) for name in PACKAGES}
    with tempfile.TemporaryDirectory(prefix="assay-tom-") as folder:
        save_network(trained, Path(folder) / "network")
        return context.artifacts.put(
            kind, Path(folder) / "network", inputs=inputs, parameters=parameters, versions=versions
        )
