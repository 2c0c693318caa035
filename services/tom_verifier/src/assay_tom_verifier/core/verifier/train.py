"""Training generators of traces, and verifiers of what they write."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.progress import Progress
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.verifier.losses import Target, counted_steps, generator_loss, in_parts, verifier_loss
from assay_tom_verifier.core.verifier.network import BeliefNetwork, NetworkShape, new_network
from assay_tom_verifier.core.verifier.optimise import Schedule, optimise
from assay_tom_verifier.core.verifier.streams import OnPolicyBatches, QuestionBatches, StorySource

# Stories for generators, for a verifier's reading and for its judging come of seeds of their own.
_READING, _JUDGING = 1, 2
_SEEDS = 1000


@dataclass(frozen=True)
class GeneratorRecipe:
    """A language model of right traces. Left early, it errs: step by step a little, by the story's end often."""

    name: str
    shape: NetworkShape
    schedule: Schedule
    length: int = 1
    profile: Profile = Profile.HITOM

    def untrained(self, seed: int) -> BeliefNetwork:
        """The network that it begins with."""
        return new_network(self.shape, seed)

    def stories(self, seed: int) -> StorySource:
        """What it trains on."""
        return StorySource(seed, self.length, self.profile, in_training=True)


@dataclass(frozen=True)
class VerifierRecipe:
    """reading: it first learns to tell beliefs, as a generator does. judging: then to judge traces, which takes the
    time. target: what it is taught; anything but PREFIX is a control.
    """

    shape: NetworkShape = field(default_factory=lambda: NetworkShape(width=64, layers=3, heads=4))
    reading: Schedule = field(default_factory=lambda: Schedule(steps=400, batch=32, learning_rate=2e-3))
    judging: Schedule = field(default_factory=lambda: Schedule(steps=3000, batch=32, learning_rate=1e-3))
    target: Target = Target.PREFIX
    length: int = 1
    profile: Profile = Profile.HITOM

    def reader(self) -> GeneratorRecipe:
        """What comes before judging; judging takes its stories from the same making."""
        return GeneratorRecipe("reading", self.shape, self.reading, self.length, self.profile)


# Three scales; each is left where its answers are right about half of the time.
GENERATORS = (
    GeneratorRecipe("small", NetworkShape(width=32, layers=2, heads=2), Schedule(150, 32, 2e-3)),
    GeneratorRecipe("medium", NetworkShape(width=64, layers=3, heads=4), Schedule(120, 32, 2e-3)),
    GeneratorRecipe("large", NetworkShape(width=128, layers=4, heads=8), Schedule(90, 32, 2e-3)),
)


def train_generator(
    recipe: GeneratorRecipe,
    *,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
) -> BeliefNetwork:
    """Trained on right beliefs of new stories. Resumable, cancellable: see `optimise`."""
    network = recipe.untrained(seed)
    batches = QuestionBatches(recipe.stories(seed * _SEEDS), recipe.schedule.batch, cancel)

    def losses_at(step: int) -> Iterator[torch.Tensor]:
        questions = batches.batch(step)
        for rows, share in in_parts(questions.lengths):
            yield generator_loss(network, questions.rows(rows)) * share

    optimise(
        network,
        losses_at,
        recipe.schedule,
        run=run_name(recipe, seed),
        cancel=cancel,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
    )
    return network


def train_verifier(
    recipe: VerifierRecipe,
    generators: Sequence[BeliefNetwork],
    *,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
) -> BeliefNetwork:
    """Trained on fresh traces of the generators, in turn. Resumable, cancellable: see `optimise`.

    InvalidInput where there is no generator.
    """
    if not generators:
        raise InvalidInput("generators", "are none; give at least one, whose traces are to be judged")
    reader = recipe.reader()
    network = train_generator(
        reader,
        seed=seed * _SEEDS + _READING,
        cancel=cancel,
        progress=progress,
        checkpoint_dir=None if checkpoint_dir is None else checkpoint_dir / "reading",
    )
    source = reader.stories((seed * _SEEDS + _JUDGING) * _SEEDS)
    batches = OnPolicyBatches(source, generators, recipe.judging.batch, cancel)

    def losses_at(step: int) -> Iterator[torch.Tensor]:
        questions, claims = batches.batch(step)
        deal = torch.Generator().manual_seed(seed * 2**32 + step)
        for rows, share in in_parts(counted_steps(questions, recipe.target)):
            part = questions.rows(rows)
            yield verifier_loss(network, part, claims[rows, : part.steps], recipe.target, deal) * share

    optimise(
        network,
        losses_at,
        recipe.judging,
        run=run_name(recipe, seed, *(weights_sha256(each) for each in generators)),
        cancel=cancel,
        progress=progress,
        checkpoint_dir=None if checkpoint_dir is None else checkpoint_dir / "judging",
    )
    return network


def weights_sha256(network: nn.Module) -> str:
    """Of all weights, in the order of their names; on the CPU."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run_name(recipe: Any, seed: int, *inputs: str) -> str:
    """Names everything that decides the weights: a dataclass of settings, the seed, digests of what goes in."""
    basis = [type(recipe).__name__, dataclasses.asdict(recipe), seed, inputs, torch.__version__]
    return hashlib.sha256(json.dumps(basis, sort_keys=True, default=str).encode()).hexdigest()
