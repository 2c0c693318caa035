"""Trainings of a few steps: taken up again bit by bit, never with a trace met before."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from unit.tom_verifier.verifier.parts import generator, network

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.progress import silent
from assay_tom_verifier.core.verifier.losses import Target, generator_loss, verifier_loss
from assay_tom_verifier.core.verifier.network import NetworkShape, new_network
from assay_tom_verifier.core.verifier.optimise import Schedule
from assay_tom_verifier.core.verifier.streams import BLOCK_STEPS, OnPolicyBatches, QuestionBatches, StorySource
from assay_tom_verifier.core.verifier.train import (
    GeneratorRecipe,
    VerifierRecipe,
    train_generator,
    train_verifier,
    weights_sha256,
)

SHAPE = NetworkShape(width=16, layers=1, heads=2)
STEPS = 2 * BLOCK_STEPS
GENERATOR = GeneratorRecipe("tiny", SHAPE, Schedule(STEPS, 5, 2e-3))
VERIFIER = VerifierRecipe(SHAPE, reading=Schedule(BLOCK_STEPS, 5, 2e-3), judging=Schedule(STEPS, 5, 1e-3))


class StopsAt:
    """Cancels once so many steps are reported of a run of this length."""

    def __init__(self, done: int, total: int) -> None:
        self.token = CancelToken()
        self._when = (done, total)

    def __call__(self, done: int, total: int, unit: str = "", **figures: float) -> None:
        if (done, total) == self._when:
            self.token.cancel()


@pytest.fixture(scope="module")
def tiny():
    return train_generator(GENERATOR, seed=3, cancel=CancelToken(), progress=silent)


def test_a_generator_taken_up_again_ends_in_the_same_weights(tiny, tmp_path):
    stop = StopsAt(BLOCK_STEPS, STEPS)
    with pytest.raises(Cancelled):
        train_generator(GENERATOR, seed=3, cancel=stop.token, progress=stop, checkpoint_dir=tmp_path)
    again = train_generator(GENERATOR, seed=3, cancel=CancelToken(), progress=silent, checkpoint_dir=tmp_path)
    assert weights_sha256(again) == weights_sha256(tiny)


@pytest.mark.parametrize("stop_in", ["reading", "judging"])
def test_a_verifier_taken_up_again_ends_in_the_same_weights(tiny, tmp_path, stop_in):
    whole = train_verifier(VERIFIER, [tiny], seed=4, cancel=CancelToken(), progress=silent)
    stop = StopsAt(BLOCK_STEPS, getattr(VERIFIER, stop_in).steps)
    with pytest.raises(Cancelled):
        train_verifier(VERIFIER, [tiny], seed=4, cancel=stop.token, progress=stop, checkpoint_dir=tmp_path)
    parts = train_verifier(VERIFIER, [tiny], seed=4, cancel=CancelToken(), progress=silent, checkpoint_dir=tmp_path)
    assert weights_sha256(parts) == weights_sha256(whole)


def test_state_of_another_run_is_left_alone(tiny, tmp_path):
    train_generator(GENERATOR, seed=9, cancel=CancelToken(), progress=silent, checkpoint_dir=tmp_path)
    here = train_generator(GENERATOR, seed=3, cancel=CancelToken(), progress=silent, checkpoint_dir=tmp_path)
    assert weights_sha256(here) == weights_sha256(tiny)


def test_training_lowers_what_a_right_belief_costs(tiny):
    held_out = StorySource(12345).questions(0, 20)
    with torch.no_grad():
        before, after = generator_loss(new_network(SHAPE, 3), held_out), generator_loss(tiny, held_out)
    assert after < before - 0.1  # nats a step; measured: .18 less after 50 steps of warming up


def test_no_question_and_no_trace_is_met_twice(tiny):
    source = StorySource(8, in_training=True)
    questions = QuestionBatches(source, 5)
    met = [row.numpy().tobytes() for step in range(STEPS) for row in questions.batch(step).features]
    # Stories of five orders; two equal ones would need equal stories, at odds beyond counting.
    assert len(met) == len(set(met)) == 5 * STEPS
    traces = OnPolicyBatches(source, [tiny], 8)
    stories = [set(traces.batch(step)[0].stories.tolist()) for step in (0, BLOCK_STEPS, 2 * BLOCK_STEPS)]
    assert not stories[0] & stories[1]
    assert not stories[1] & stories[2]


def test_a_step_s_batch_does_not_depend_on_what_was_asked_before(tiny):
    source = StorySource(8, in_training=True)
    jumping, walking = OnPolicyBatches(source, [tiny], 4), OnPolicyBatches(source, [tiny], 4)
    for step in range(BLOCK_STEPS + 3):
        questions, claims = walking.batch(step)
    there, drawn = jumping.batch(BLOCK_STEPS + 2)
    assert torch.equal(drawn, claims)
    assert torch.equal(there.features, questions.features)


def test_each_target_counts_what_it_says(tiny):
    questions, claims = OnPolicyBatches(StorySource(8, in_training=True), [tiny], 40).batch(0)
    model = network().float()
    with torch.no_grad():
        losses = {target: verifier_loss(model, questions, claims, target, generator(0)).item() for target in Target}
        _, slots = model.read(questions.features, claims)
        last = questions.last_of(model.margins(slots))
        right = (questions.last_of(claims) == questions.answers).float()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(last, right).item()
    assert losses[Target.OUTCOME] == pytest.approx(expected, rel=1e-6)
    assert losses[Target.PREFIX] != pytest.approx(losses[Target.SHUFFLED], rel=1e-3)


def test_a_verifier_needs_a_generator():
    with pytest.raises(InvalidInput, match="generators"):
        train_verifier(VERIFIER, [], seed=0, cancel=CancelToken(), progress=silent)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("batch", 0), ("learning_rate", float("nan"))])
def test_schedules_that_cannot_be_name_their_field(name, value):
    with pytest.raises(InvalidInput, match=name):
        dataclasses.replace(VERIFIER.judging, **{name: value})
