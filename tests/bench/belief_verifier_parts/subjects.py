"""The generators and verifiers that are measured, trained once and kept in a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.cancel import CancelToken
from assay.progress import silent
from assay_tom_verifier.core.verifier.costs import trace_flops, training_flops
from assay_tom_verifier.core.verifier.losses import Target
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, load_network, save_network
from assay_tom_verifier.core.verifier.streams import QUESTIONS_PER_STORY, StorySource
from assay_tom_verifier.core.verifier.train import GENERATORS, VerifierRecipe, train_generator, train_verifier

CANCEL = CancelToken()
RECIPE = VerifierRecipe()
# Nothing can be learned from labels that belong to other traces, in however many steps.
SHUFFLED = replace(RECIPE, judging=replace(RECIPE.judging, steps=1000), target=Target.SHUFFLED)
OUTCOME = replace(RECIPE, target=Target.OUTCOME)
FACTS = "training.json"
# Apart from one another and from what a verifier of seeds below 100 trains on.
GENERATOR_SEED, MATCHED_SEED, HELD_OUT_SEED = 500_000, 700_000, 10**12


@dataclass(frozen=True)
class Subjects:
    """generators: by scale; compute_matched: the medium scale, trained with the verifier's arithmetic.

    facts: per model its parameters, steps and CPU seconds.
    """

    generators: dict[str, BeliefNetwork]
    compute_matched: BeliefNetwork
    verifier: ProcessBeliefModel
    shuffled_labels: ProcessBeliefModel
    outcome_only: ProcessBeliefModel
    facts: dict[str, dict[str, Any]]


def subjects(folder: Path, seed: int) -> Subjects:
    """Loads what `folder` has of this seed, trains and keeps the rest."""
    facts: dict[str, dict[str, Any]] = {}

    def kept(name: str, steps: int, make: Callable[[], BeliefNetwork]) -> BeliefNetwork:
        where = folder / f"{name}-seed{seed}"
        if not (where / FACTS).is_file():
            began = time.process_time()
            network = make()
            seconds = round(time.process_time() - began, 1)
            save_network(network, where)
            parameters = sum(each.numel() for each in network.parameters())
            (where / FACTS).write_text(json.dumps({"parameters": parameters, "steps": steps, "cpu_s": seconds}))
            print(f"trained {name}: {parameters:,} parameters, {steps} steps, {seconds} s of CPU", flush=True)
        facts[name] = json.loads((where / FACTS).read_text())
        return load_network(where)

    def verifier(name: str, recipe: VerifierRecipe) -> ProcessBeliefModel:
        drawn_from = list(generators.values())
        steps = recipe.reading.steps + recipe.judging.steps
        return ProcessBeliefModel(
            kept(name, steps, lambda: train_verifier(recipe, drawn_from, seed=seed, cancel=CANCEL, progress=silent))
        )

    generators = {
        recipe.name: kept(
            f"generator-{recipe.name}",
            recipe.schedule.steps,
            lambda recipe=recipe: train_generator(recipe, seed=GENERATOR_SEED + seed, cancel=CANCEL, progress=silent),
        )
        for recipe in GENERATORS
    }
    judge = verifier("verifier", RECIPE)
    steps = matching_steps(judge.network, list(generators.values()))
    longer = replace(GENERATORS[1], schedule=Schedule(steps, 32, 2e-3))
    matched = kept(
        "generator-compute-matched",
        steps,
        lambda: train_generator(longer, seed=MATCHED_SEED + seed, cancel=CANCEL, progress=silent),
    )
    return Subjects(
        generators,
        matched,
        judge,
        verifier("verifier-shuffled-labels", SHUFFLED),
        verifier("verifier-outcome-only", OUTCOME),
        facts,
    )


def matching_steps(verifier: BeliefNetwork, generators: list[BeliefNetwork]) -> int:
    """Steps in which a generator of the verifier's shape takes the arithmetic of the verifier's training, the drawing
    of its traces counted in.
    """
    lines = float(StorySource(0).questions(0, 100).lengths.double().mean())
    read, judged = RECIPE.reading.steps * RECIPE.reading.batch, RECIPE.judging.steps * RECIPE.judging.batch
    drawing = sum(trace_flops(each, lines) for each in generators) / len(generators) * judged
    total = training_flops(verifier, read + judged, lines) + drawing
    return round(total / training_flops(verifier, 32, lines))


def held_out_stories(seed: int, stories: int, length: int = 1) -> Any:
    """Questions of stories that no training has met: their seed is out of its reach."""
    questions = StorySource(HELD_OUT_SEED + seed, length).questions(0, stories)
    assert len(questions) == stories * QUESTIONS_PER_STORY
    return questions
