"""The generators and verifiers that are measured, trained once and kept in a folder."""

from __future__ import annotations

import json
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
from assay_tom_verifier.core.verifier.train import GENERATORS, VerifierRecipe, train_generator, train_verifier

CANCEL = CancelToken()
RECIPE = VerifierRecipe()
# Nothing can be learned from labels that belong to other traces, in however many steps.
SHUFFLED = replace(RECIPE, judging=replace(RECIPE.judging, steps=600), target=Target.SHUFFLED)
OUTCOME = replace(RECIPE, judging=replace(RECIPE.judging, steps=1000), target=Target.OUTCOME)
# A generator answers nearly all long before it has had the verifier's arithmetic; this is where it is left.
LONGER_STEPS = 1000
FACTS = "training.json"
# Apart from one another and from what a verifier of seeds below 100 trains on.
GENERATOR_SEED, LONGER_SEED, HELD_OUT_SEED = 500_000, 700_000, 10**12


class Subjects:
    """Each is loaded from `folder`, or trained and kept there, when it is first asked for.

    facts: per model its parameters, steps and CPU seconds.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self.facts: dict[str, dict[str, Any]] = {}

    @cached_property
    def generators(self) -> dict[str, BeliefNetwork]:
        """By scale."""
        return {
            recipe.name: self._kept(
                f"generator-{recipe.name}",
                recipe.schedule.steps,
                lambda recipe=recipe: train_generator(
                    recipe, seed=GENERATOR_SEED + self._seed, cancel=CANCEL, progress=silent
                ),
            )
            for recipe in GENERATORS
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
    def longer_trained(self) -> BeliefNetwork:
        """The medium scale, with `longer_share` of the arithmetic of the verifier's training."""
        longer = replace(GENERATORS[1], schedule=Schedule(min(LONGER_STEPS, self._equal_steps), 32, 2e-3))
        return self._kept(
            "generator-longer",
            longer.schedule.steps,
            lambda: train_generator(longer, seed=LONGER_SEED + self._seed, cancel=CANCEL, progress=silent),
        )

    @property
    def longer_share(self) -> float:
        return min(1.0, LONGER_STEPS / self._equal_steps)

    @cached_property
    def _equal_steps(self) -> int:
        """Steps in which the medium generator takes the verifier's arithmetic, the drawing of its traces counted in."""
        lines = float(StorySource(0).questions(0, 100).lengths.double().mean())
        read, judged = RECIPE.reading.steps * RECIPE.reading.batch, RECIPE.judging.steps * RECIPE.judging.batch
        drawing = sum(trace_flops(each, lines) for each in self.generators.values()) / len(self.generators) * judged
        total = training_flops(self.verifier.network, read + judged, lines) + drawing
        return round(total / training_flops(self.generators["medium"], 32, lines))

    def _verifier(self, name: str, recipe: VerifierRecipe) -> ProcessBeliefModel:
        drawn_from = list(self.generators.values())
        return ProcessBeliefModel(
            self._kept(
                name,
                recipe.reading.steps + recipe.judging.steps,
                lambda: train_verifier(recipe, drawn_from, seed=self._seed, cancel=CANCEL, progress=silent),
            )
        )

    def _kept(self, name: str, steps: int, make: Callable[[], BeliefNetwork]) -> BeliefNetwork:
        where = self._folder / f"{name}-seed{self._seed}"
        if not (where / FACTS).is_file():
            began = time.process_time()
            network = make()
            seconds = round(time.process_time() - began, 1)
            save_network(network, where)
            parameters = sum(each.numel() for each in network.parameters())
            (where / FACTS).write_text(json.dumps({"parameters": parameters, "steps": steps, "cpu_s": seconds}))
            print(f"trained {name}: {parameters:,} parameters, {steps} steps, {seconds} s of CPU", flush=True)
        self.facts[name] = json.loads((where / FACTS).read_text())
        return load_network(where)
