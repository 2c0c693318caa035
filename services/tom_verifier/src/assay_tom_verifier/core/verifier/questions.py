"""Questions of many stories, padded to one length, beside the right beliefs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Belief, Chain, Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.encode import EncodedQuestion, Labels, encode_claims, encode_question


@dataclass(frozen=True)
class Questions:
    """B questions. features: [B, 1 + T, FEATURES] uint8, or [B, 1 + T, L] int16 words, zeros beyond a story's end;
    beliefs: [B, T] int64, what the asked chain believes after each line (NULL beyond the end); lengths: [B] int64
    lines; orders: [B] int64; possible: [B, PREDICTED] bool, the claims that name a container of the story or NULL;
    stories: [B] int64, equal where two questions are about one story; labels: what the numbers mean.
    """

    features: Tensor
    beliefs: Tensor
    lengths: Tensor
    orders: Tensor
    possible: Tensor
    stories: Tensor
    labels: tuple[Labels, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """T: lines of the longest story."""
        return self.beliefs.shape[1]

    @property
    def mask(self) -> Tensor:
        """[B, T] bool: true where a story has a line."""
        return torch.arange(self.steps) < self.lengths[:, None]

    @property
    def answers(self) -> Tensor:
        """[B] int64: what the chain believes at the end."""
        return self.last_of(self.beliefs)

    def last_of(self, values: Tensor) -> Tensor:
        """Of values [B, ..., T] those at each story's last line: [B, ...]."""
        ends = (self.lengths - 1).view(-1, *[1] * (values.dim() - 1)).expand(*values.shape[:-1], 1)
        return values.gather(-1, ends).squeeze(-1)

    def rows(self, index: Tensor) -> Questions:
        """The questions at `index`, [B'] int64, no longer than they need be."""
        lengths = self.lengths[index]
        steps = int(lengths.max())
        return Questions(
            self.features[index, : 1 + steps],
            self.beliefs[index, :steps],
            lengths,
            self.orders[index],
            self.possible[index],
            self.stories[index],
            tuple(self.labels[i] for i in index.tolist()),
        )


def collate(
    encoded: Sequence[EncodedQuestion], beliefs: Sequence[np.ndarray], orders: Sequence[int], stories: Sequence[int]
) -> Questions:
    """Puts encoded questions side by side; beliefs: [T_i] int64 each. InvalidInput where there are none."""
    if not encoded:
        raise InvalidInput("questions", "are none; give at least one")
    steps = max(each.steps for each in encoded)
    widest = max(each.features.shape[1] for each in encoded)
    features = np.zeros((len(encoded), 1 + steps, widest), dtype=encoded[0].features.dtype)
    right = np.full((len(encoded), steps), V.NULL, dtype=np.int64)
    possible = np.zeros((len(encoded), V.PREDICTED), dtype=bool)
    possible[:, V.NULL] = True
    for row, (each, own) in enumerate(zip(encoded, beliefs, strict=True)):
        features[row, : 1 + each.steps, : each.features.shape[1]] = each.features
        right[row, : each.steps] = own
        possible[row, list(each.labels.containers.values())] = True
    return Questions(
        torch.from_numpy(features),
        torch.from_numpy(right),
        torch.tensor([each.steps for each in encoded]),
        torch.tensor(list(orders)),
        torch.from_numpy(possible),
        torch.tensor(list(stories)),
        tuple(each.labels for each in encoded),
    )


def with_beliefs(
    story: Story,
    question: Question,
    beliefs: Sequence[dict[Chain, Belief]],
    generator: np.random.Generator | None = None,
) -> tuple[EncodedQuestion, np.ndarray]:
    """The encoded question and what its chain believes after each line, [T] int64.

    beliefs: one dict per line, as an engine's `believe` gives them. generator: as for `encode_question`.
    """
    encoded = encode_question(story, question, generator)
    return encoded, right_slots(encoded, question, beliefs)


def right_slots(encoded: EncodedQuestion, question: Question, beliefs: Sequence[dict[Chain, Belief]]) -> np.ndarray:
    """[T] int64: what the question's chain believes after each line, in the encoded question's numbers."""
    return encode_claims([step[question.chain].container for step in beliefs], encoded.labels)
