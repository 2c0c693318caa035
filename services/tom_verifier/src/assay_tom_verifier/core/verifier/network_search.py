"""The two sides of beam search: a small network proposes the next claim, a process belief model judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from assay.cancel import CancelToken
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.beam_search import Claims
from assay_tom_verifier.core.verifier.encode import encode_claims
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.process_belief_model import rows_at_once


class NetworkProposer:
    """Draws claims from a generator, at `temperature`, seeded. drawn: claims so far."""

    def __init__(
        self, network: BeliefNetwork, story: Story, question: Question, *, seed: int, temperature: float = 1.0
    ) -> None:
        self._network, self._temperature = network, temperature
        self.drawn = 0
        self._encoded = network.encode(story, question)
        self._possible = torch.zeros(V.PREDICTED, dtype=torch.bool)
        self._possible[[V.NULL, *self._encoded.labels.containers.values()]] = True
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def propose(self, prefixes: Sequence[Claims], count: int, cancel: CancelToken) -> list[list[str | None]]:
        length, labels = len(prefixes[0]), self._encoded.labels
        lines = self._network.embed_lines(torch.from_numpy(self._encoded.features[: length + 2]))
        at_once, found = rows_at_once(length + 1), []
        for start in range(0, len(prefixes), at_once):
            cancel.check()
            part = prefixes[start : start + at_once]
            claims = torch.full((len(part), length + 1), V.NULL)  # the last stands where nothing is claimed yet
            for row, prefix in zip(claims, part, strict=True):
                row[:length] = torch.from_numpy(encode_claims(prefix, labels))
            states, _ = self._network.read_on(lines.expand(len(part), -1, -1), claims)
            found.append(self._network.beliefs(states[:, -1]))
        logits = torch.cat(found) / self._temperature
        odds = logits.masked_fill(~self._possible, float("-inf")).softmax(-1)
        self.drawn += count * len(prefixes)
        drawn = torch.multinomial(odds, count, replacement=True, generator=self._generator)
        return [[labels.container(value) for value in row] for row in drawn.tolist()]


class ClaimScorer(Protocol):
    """A process belief model, small or a checkpoint."""

    def score_claims(
        self,
        story: Story,
        question: Question,
        traces: Sequence[Sequence[str | None]],
        cancel: CancelToken | None = None,
    ) -> list[list[float]]: ...


class NetworkScorer:
    """Scores prefixes by a process belief model."""

    def __init__(self, verifier: ClaimScorer, story: Story, question: Question) -> None:
        self._verifier, self._story, self._question = verifier, story, question

    def score_prefixes(self, prefixes: Sequence[Claims], cancel: CancelToken) -> list[list[float]]:
        return self._verifier.score_claims(self._story, self._question, prefixes, cancel)
