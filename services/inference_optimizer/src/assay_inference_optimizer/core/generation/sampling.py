"""How the next token is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.errors import InvalidInput

MAX_ALTERNATIVES = 20
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000


@dataclass(frozen=True)
class Sampling:
    """max_new_tokens: 0 only reads the prompt. temperature: 0 takes the likeliest token.

    top_p: only the likeliest tokens that make up this much probability, 0 for all. top_k: only this many of the
    likeliest, 0 for all. stop: texts that end an answer. alternatives: likeliest tokens to report of each step.
    fit_context: fewer tokens where the context leaves no room for as many.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    alternatives: int = 0
    fit_context: bool = False

    def check(self) -> None:
        """InvalidInput naming the field."""
        if self.max_new_tokens < 1:
            raise InvalidInput("sampling.max_new_tokens", f"is {self.max_new_tokens}; ask for at least 1")
        if not (0 <= self.temperature < math.inf):
            raise InvalidInput(
                "sampling.temperature", f"is {self.temperature}; give 0 for the likeliest tokens, or more"
            )
        if not 0 <= self.top_p <= 1:
            raise InvalidInput("sampling.top_p", f"is {self.top_p}; give 0 for all tokens, or at most 1")
        if self.top_k < 0:
            raise InvalidInput("sampling.top_k", f"is {self.top_k}; give 0 for all tokens, or more")
        if not 0 <= self.alternatives <= MAX_ALTERNATIVES:
            raise InvalidInput("sampling.alternatives", f"is {self.alternatives}; give 0 to {MAX_ALTERNATIVES}")
        if len(self.stop) > MAX_STOPS:
            raise InvalidInput("sampling.stop", f"has {len(self.stop)} texts; {MAX_STOPS} at most")
        for index, text in enumerate(self.stop):
            if not text:
                raise InvalidInput(f"sampling.stop[{index}]", "is empty, which stands everywhere; leave it out")
            if len(text) > MAX_STOP_CHARACTERS:
                raise InvalidInput(f"sampling.stop[{index}]", f"is longer than {MAX_STOP_CHARACTERS} characters")


def choose(logits: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """One token id. logits: [V] float32 on the CPU. The same generator state gives the same token."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    # Subtracting the maximum first keeps a tiny temperature from overflowing to inf - inf.
    probabilities = torch.softmax((logits - logits.max()).double() / sampling.temperature, dim=-1)
    if 0 < sampling.top_k < len(probabilities) or 0 < sampling.top_p < 1:
        probabilities = _cut(probabilities, sampling)
    return int(torch.multinomial(probabilities, 1, generator=random))


def _cut(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """[V], zero for what top-k and then top-p leave out; ties go to the lower id."""
    ordered, order = probabilities.sort(descending=True, stable=True)
    if sampling.top_k:
        ordered[sampling.top_k :] = 0
    if 0 < sampling.top_p < 1:
        ordered = ordered / ordered.sum()
        # A token stays while those before it do not make up top_p yet: the likeliest always does.
        ordered[ordered.cumsum(0) - ordered >= sampling.top_p] = 0
    return torch.zeros_like(probabilities).scatter(0, order, ordered)
