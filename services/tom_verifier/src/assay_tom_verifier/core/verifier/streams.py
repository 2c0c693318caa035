"""Batches without end for generators and verifiers: step i's batch is a function of seed and i."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay_tom_verifier.core.stories.beliefs import Profile
from assay_tom_verifier.core.stories.generate import GeneratedStory, generate_stories
from assay_tom_verifier.core.stories.tables import TableEngine
from assay_tom_verifier.core.verifier.encode import EncodedQuestion, encode_question
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.questions import Questions, collate, right_slots
from assay_tom_verifier.core.verifier.sample import sample_traces

# Steps whose batches are made at once; sampling step by step would cost more than training.
BLOCK_STEPS = 25
TRACES_PER_QUESTION = 4
QUESTIONS_PER_STORY = 5
# Keeps the draws of traces apart from those of stories.
_TRACES = 1


@dataclass(frozen=True)
class StorySource:
    """Generated stories of one seed, every second one with claims, and five questions about each, of orders 0 to 4.

    length: chapters. in_training: containers are numbered at random, so that all numbers are learned.
    """

    seed: int
    length: int = 1
    profile: Profile = Profile.HITOM
    in_training: bool = False

    def story(self, index: int) -> GeneratedStory:
        """Story number `index`; its questions are of orders 0, 1, 2 ..."""
        (made,) = generate_stories(
            1, self.seed, length=self.length, claims=index % 2 == 1, profile=self.profile, first=index
        )
        return made

    def questions(self, first: int, count: int, cancel: CancelToken | None = None) -> Questions:
        """All questions about the stories number `first` to `first + count - 1`; Cancelled, DeadlineExceeded."""
        engine = TableEngine()
        encoded, beliefs, orders, stories = [], [], [], []
        for index in range(first, first + count):
            if cancel is not None:
                cancel.check()
            made = self.story(index)
            asked = [each.question for each in made.questions]
            believed = engine.believe(made.story, [each.chain for each in asked], asked[0].thing, self.profile)
            for question, features in zip(asked, self.encoded(made), strict=True):
                encoded.append(features)
                beliefs.append(right_slots(features, question, believed))
                orders.append(question.order)
                stories.append(index)
        return collate(encoded, beliefs, orders, stories)

    def encoded(self, made: GeneratedStory) -> list[EncodedQuestion]:
        """The story's questions as the models take them."""
        random = np.random.default_rng((self.seed, made.index)) if self.in_training else None
        return [encode_question(made.story, each.question, random) for each in made.questions]


Block = TypeVar("Block")


class _Blocks(Generic[Block]):
    """Keeps the block that was asked for last."""

    def __init__(self) -> None:
        self._index = -1
        self._block: Block | None = None

    def at(self, index: int) -> Block:
        if index != self._index or self._block is None:
            self._block = self.make(index)
            self._index = index
        return self._block

    def make(self, index: int) -> Block:
        raise NotImplementedError


class QuestionBatches(_Blocks[Questions]):
    """Questions of new stories, each met once."""

    def __init__(self, source: StorySource, batch: int, cancel: CancelToken | None = None) -> None:
        super().__init__()
        self._source, self._batch, self._cancel = source, batch, cancel

    def batch(self, step: int) -> Questions:
        index, within = divmod(step, BLOCK_STEPS)
        questions = self.at(index)
        order = torch.randperm(len(questions), generator=_generator(self._source.seed, index))
        return questions.rows(order[within * self._batch :][: self._batch])

    def make(self, index: int) -> Questions:
        count = -(-BLOCK_STEPS * self._batch // QUESTIONS_PER_STORY)
        return self._source.questions(index * count, count, self._cancel)


class OnPolicyBatches(_Blocks[tuple[Questions, Tensor]]):
    """Traces drawn from the generators for the purpose, each met once.

    A pool of traces met again and again is learned by heart: a verifier then looks trained and is not. The generators
    take turns, block by block.
    """

    def __init__(
        self, source: StorySource, generators: Sequence[BeliefNetwork], batch: int, cancel: CancelToken | None = None
    ) -> None:
        super().__init__()
        self._source, self._generators, self._batch, self._cancel = source, generators, batch, cancel

    def batch(self, step: int) -> tuple[Questions, Tensor]:
        """Questions and one trace of each, [batch, T] int64."""
        index, within = divmod(step, BLOCK_STEPS)
        questions, claims = self.at(index)
        order = torch.randperm(claims.shape[0] * claims.shape[1], generator=_generator(self._source.seed, index))
        rows = order[within * self._batch :][: self._batch]
        chosen = questions.rows(rows // TRACES_PER_QUESTION)
        return chosen, claims.flatten(0, 1)[rows, : chosen.steps]

    def make(self, index: int) -> tuple[Questions, Tensor]:
        count = -(-BLOCK_STEPS * self._batch // (QUESTIONS_PER_STORY * TRACES_PER_QUESTION))
        questions = self._source.questions(index * count, count, self._cancel)
        drawn = sample_traces(
            self._generators[index % len(self._generators)],
            questions,
            TRACES_PER_QUESTION,
            _generator(self._source.seed, index, _TRACES),
            cancel=self._cancel,
        )
        return questions, drawn


def _generator(*key: int) -> torch.Generator:
    """Seeded by all of `key`."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
