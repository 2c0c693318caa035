"""The generators and verifiers that are measured, trained once and kept in a folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.cancel import CancelToken
from assay.progress import silent
from assay_tom_verifier.core.verifier.costs import trace_flops, training_flops
from assay_tom_verifier.core.verifier.losses import Target
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.process_belief_model import ProcessBeliefModel, load_network, save_network
from assay_tom_verifier.core.verifier.streams import StorySource
from assay_tom_verifier.core.verifier.train import (
    GENERATORS,
    GeneratorRecipe,
    VerifierRecipe,
    run_name,
    train_generator,
    train_verifier,
    weights_sha256,
)

CANCEL = CancelToken()
RECIPE = VerifierRecipe()
# Controls have all that the verifier has, traces and steps, but its labels.
SHUFFLED, OUTCOME = (replace(RECIPE, target=target) for target in (Target.SHUFFLED, Target.OUTCOME))
# Shares of the verifier's training arithmetic that a generator is given instead.
SHARES = (0.2, 1.0)
FACTS, UNFINISHED = "training.json", "unfinished"
# Apart from one another and from what a verifier of seeds below 100 trains on.
GENERATOR_SEED, LONGER_SEED, HELD_OUT_SEED = 500_000, 700_000, 10**12


class Subjects:
    """Each is loaded from `folder`, or trained and kept there, when it is first asked for. A training that was cut off
    is taken up again; what another recipe gave is trained anew.

    facts: per model its recipe's digest, parameters, steps and CPU seconds, None of a training that was cut off.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self.facts: dict[str, dict[str, Any]] = {}

    @cached_property
    def generators(self) -> dict[str, BeliefNetwork]:
        """By scale."""
        return {
            recipe.name: self._generator(f"generator-{recipe.name}", recipe, GENERATOR_SEED) for recipe in GENERATORS
        }

    @cached_property
    def verifier(self) -> ProcessBeliefModel:
        return self._verifier("verifier", RECIPE)

    @cached_property
    def shuffled_labels(self) -> ProcessBeliefModel:
        return self._verifier("verifier-shuffled-labels", SHUFFLED)

    @cached_property
    def outcome_only(self) -> ProcessBeliefModel:
        return self._verifier("verifier-outcome-only", OUTCOME)

    @cached_property
    def longer_trained(self) -> dict[float, BeliefNetwork]:
        """The medium scale by the share of the arithmetic of the verifier's training that it was given."""
        found = {}
        for share in SHARES:
            schedule = Schedule(round(share * self._equal_steps), 32, 2e-3)
            recipe = replace(GENERATORS[1], schedule=schedule)
            found[share] = self._generator(f"generator-{share:.0%}", recipe, LONGER_SEED)
        return found

    @cached_property
    def _equal_steps(self) -> int:
        """Steps in which the medium generator takes the verifier's arithmetic, the drawing of its traces counted in."""
        lines = float(StorySource(0).questions(0, 100).lengths.double().mean())
        read, judged = RECIPE.reading.steps * RECIPE.reading.batch, RECIPE.judging.steps * RECIPE.judging.batch
        drawing = sum(trace_flops(each, lines) for each in self.generators.values()) / len(self.generators) * judged
        total = training_flops(self.verifier.network, read + judged, lines) + drawing
        return round(total / training_flops(self.generators["medium"], 32, lines))

    def _generator(self, name: str, recipe: GeneratorRecipe, first_seed: int) -> BeliefNetwork:
        seed = first_seed + self._seed
        return self._kept(
            name,
            run_name(recipe, seed),
            recipe.schedule.steps,
            lambda folder: train_generator(recipe, seed=seed, cancel=CANCEL, progress=silent, checkpoint_dir=folder),
        )

    def _verifier(self, name: str, recipe: VerifierRecipe) -> ProcessBeliefModel:
        drawn_from = list(self.generators.values())
        return ProcessBeliefModel(
            self._kept(
                name,
                run_name(recipe, self._seed, *map(weights_sha256, drawn_from)),
                recipe.reading.steps + recipe.judging.steps,
                lambda folder: train_verifier(
                    recipe, drawn_from, seed=self._seed, cancel=CANCEL, progress=silent, checkpoint_dir=folder
                ),
            )
        )

    def _kept(self, name: str, recipe: str, steps: int, make: Callable[[Path], BeliefNetwork]) -> BeliefNetwork:
        """recipe: names everything that decides the weights."""
        where, unfinished = self._folder / f"{name}-seed{self._seed}", self._folder / UNFINISHED / recipe[:16]
        facts = json.loads((where / FACTS).read_text()) if (where / FACTS).is_file() else {}
        if facts.get("recipe") != recipe:
            began, cut_off = time.process_time(), unfinished.exists()
            network = make(unfinished)
            seconds = None if cut_off else round(time.process_time() - began, 1)
            save_network(network, where)
            parameters = sum(each.numel() for each in network.parameters())
            facts = {"recipe": recipe, "parameters": parameters, "steps": steps, "cpu_s": seconds}
            (where / FACTS).write_text(json.dumps(facts))
            shutil.rmtree(unfinished, ignore_errors=True)
            print(f"trained {name}: {parameters:,} parameters, {steps} steps, {seconds} s of CPU", flush=True)
        self.facts[name] = facts
        return load_network(where)
