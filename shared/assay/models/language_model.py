"""The port through which services read language models, whoever runs them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from assay.cancel import CancelToken


class Evidence(Enum):
    """What a model can show besides its text; hidden states only where its weights are at hand."""

    LOG_PROBABILITIES = "log-probabilities"
    HIDDEN_STATES = "hidden-states"


class FinishReason(Enum):
    """Why a generation ended: the model's own end mark, one of the caller's stop texts, or the token limit."""

    END = "end"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Capabilities:
    """evidence: what the adapter can give. context_tokens: longest prompt with its answer, None where unknown."""

    evidence: frozenset[Evidence]
    context_tokens: int | None


@dataclass(frozen=True)
class Generation:
    """One answer. tokens: ids, the end mark included where the model gave one; text: without it, cut at a stop text.

    log_probabilities: nats of each token given all before it, under the model itself (temperature 1, nothing
    cut off), so that answers at different temperatures compare.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Score:
    """How likely a text is. byte_offsets: (start, end) of each token in the text's UTF-8 bytes.

    A token that holds part of a character spans the whole character. log_probabilities: nats of each token given
    all before it. The first is given the begin mark where the model has one, else it is None: nothing precedes it.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float | None, ...]
    byte_offsets: tuple[tuple[int, int], ...]


class LanguageModel(Protocol):
    """Answers in the order of its inputs. Both methods raise InvalidInput, Cancelled and DeadlineExceeded."""

    @property
    def capabilities(self) -> Capabilities: ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        cancel: CancelToken,
    ) -> list[Generation]:
        """One answer a prompt; temperature 0 takes the likeliest token.

        A prompt's random numbers follow from the seed, its text and how often it was asked before in this call, so
        other prompts alongside change nothing (but rounding), and asking one prompt n times gives n samples.
        """
        ...

    def score(self, texts: Sequence[str], *, cancel: CancelToken) -> list[Score]:
        """The log-probability of every token of each text."""
        ...


def prompt_seeds(prompts: Sequence[str], seed: int) -> list[int]:
    """The seed of each prompt's own random numbers, 56 bits: of the seed, its text, and how often it came before."""
    asked: Counter[str] = Counter()
    seeds = []
    for prompt in prompts:
        digest = hashlib.sha256(f"{seed}\0{asked[prompt]}\0{prompt}".encode()).digest()
        seeds.append(int.from_bytes(digest[:7]))
        asked[prompt] += 1
    return seeds
