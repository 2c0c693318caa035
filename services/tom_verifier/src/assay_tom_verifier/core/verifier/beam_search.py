"""Beam search over belief traces: claims are proposed, judged by their prefix, and the best prefixes go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.verifier.aggregate import Aggregation, aggregate

MOST_TRACES = 1024

Claims = tuple[str | None, ...]


class Proposer(Protocol):
    def propose(self, prefixes: Sequence[Claims], count: int, cancel: CancelToken) -> list[list[str | None]]:
        """`count` claims for the step after each prefix, drawn anew."""
        ...


class PrefixScorer(Protocol):
    def score_prefixes(self, prefixes: Sequence[Claims], cancel: CancelToken) -> list[list[float]]:
        """One score in [0, 1] for every step of each prefix."""
        ...


@dataclass(frozen=True)
class Beam:
    """A trace that was kept: its claims, its steps' scores and their aggregate."""

    claims: Claims
    scores: tuple[float, ...]
    score: float


def beam_search(
    proposer: Proposer,
    scorer: PrefixScorer,
    steps: int,
    *,
    n: int,
    beams: int,
    how: Aggregation,
    cancel: CancelToken,
) -> list[Beam]:
    """The traces kept at the end, best first, at most `beams` of them.

    n: traces alive at a step, at most MOST_TRACES: n / beams claims are drawn for each beam, as in search over steps
    with a process reward model (Snell et al., arXiv:2408.03314). Equal traces are judged once and kept once; among
    equal scores the one proposed first stays. Raises InvalidInput for n out of range or no multiple of `beams`.
    """
    if not 1 <= n <= MOST_TRACES:
        raise InvalidInput("n", f"is {n}; give 1 to {MOST_TRACES}")
    if beams < 1 or n % beams:
        raise InvalidInput("beams", f"is {beams}; give a divisor of n = {n}")
    if steps < 1:
        raise InvalidInput("steps", f"is {steps}; give at least 1")
    kept = [Beam((), (), 1.0)]
    for _ in range(steps):
        cancel.check()
        prefixes = [beam.claims for beam in kept]
        proposed = proposer.propose(prefixes, n // len(kept), cancel)
        grown = dict.fromkeys((*prefix, claim) for prefix, own in zip(prefixes, proposed, strict=True) for claim in own)
        traces = list(grown)
        scores = scorer.score_prefixes(traces, cancel)
        aggregated = aggregate(torch.tensor(scores, dtype=torch.float64), how).tolist()
        order = sorted(range(len(traces)), key=lambda index: -aggregated[index])[:beams]
        kept = [Beam(traces[index], tuple(scores[index]), aggregated[index]) for index in order]
    return kept
