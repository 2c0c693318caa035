"""A small network that reads a line's words, where others are given what a parser made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier import words as W
from assay_tom_verifier.core.verifier.encode import EncodedQuestion
from assay_tom_verifier.core.verifier.network import BeliefNetwork, NetworkShape
from assay_tom_verifier.core.verifier.words import ToldStory, encode_told

_REACH = 5  # words that one convolution looks at
_LINES_AT_ONCE = 1024  # what lies between stays in a core's cache


class LineReader(nn.Module):
    """Words with those around them, summed over the line: who does what is told by what stands next to a name."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(W.WORD + words, width) * 0.3)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.around = nn.ModuleList(nn.Conv1d(width, width, _REACH, padding=_REACH // 2) for _ in range(2))
        self.up, self.down = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [..., L] -> [..., width]."""
        flat = tokens.reshape(-1, tokens.shape[-1]).long()
        return torch.cat([self._lines(part) for part in flat.split(_LINES_AT_ONCE)]).view(*tokens.shape[:-1], -1)

    def _lines(self, tokens: Tensor) -> Tensor:
        there = (tokens != W.NOTHING).unsqueeze(-1)
        hidden = F.embedding(tokens, self.words) * there
        for norm, around in zip(self.norms, self.around, strict=False):
            heard = around(norm(hidden).transpose(1, 2)).transpose(1, 2)
            hidden = (hidden + F.silu(heard)) * there
        line = hidden.sum(1)
        known: Tensor = line + self.down(F.silu(self.up(self.norms[2](line))))
        return known


class WordNetwork(BeliefNetwork):
    """A belief network whose lines are words. vocabulary: those it knows."""

    def __init__(self, shape: NetworkShape, vocabulary: tuple[str, ...]) -> None:
        super().__init__(shape)
        del self.features  # of parsed lines
        self.vocabulary = vocabulary
        self.reader = LineReader(len(vocabulary), shape.width)

    def encode(self, story: Story, question: Question) -> EncodedQuestion:
        """By the words of the story's lines alone, be they parsed or not; what `encode_told` raises."""
        return encode_told(ToldStory.of(story), question, self.vocabulary)

    def embed_lines(self, features: Tensor) -> Tensor:
        """features: [..., L] tokens -> [..., width]."""
        read: Tensor = self.reader(features)
        return read


def new_word_network(shape: NetworkShape, vocabulary: tuple[str, ...], seed: int) -> WordNetwork:
    """Weights drawn from `seed` alone, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WordNetwork(shape, vocabulary).eval()
