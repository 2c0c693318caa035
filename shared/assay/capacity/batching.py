"""A replica that answers many calls together, one token each a turn: how fast, and how many it holds.

A turn over b sequences takes turn_s + sequence_s * b seconds; reading a prompt costs the loop prompt_s in all. A call
of N answer tokens needs N turns, so with its prompt spread over them a turn takes turn_s + (sequence_s + prompt_s / N)
b: processor sharing whose speed depends on how many share (Cohen, Acta Informatica 12, 1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.capacity.queueing import MOST_PLACES, Population, birth_death, fewest
from assay.errors import InvalidInput


@dataclass(frozen=True)
class Batch:
    """turn_s: of a turn whatever it holds. sequence_s: more for each sequence. prompt_token_s: of one prompt token.

    most: sequences at once; further ones wait for a place.
    """

    turn_s: float
    sequence_s: float
    prompt_token_s: float
    most: int

    def turns_per_s(self, held: float, prompt_tokens: float, answer_tokens: float) -> float:
        """Turns a second, hence answer tokens a second of each sequence, with `held` sequences."""
        return 1 / (self.turn_s + self._cost(prompt_tokens, answer_tokens) * max(held, 1))

    def answers_per_s(self, held: float, prompt_tokens: float, answer_tokens: float) -> float:
        """Calls answered a second by a replica that holds `held` of them."""
        return held * self.turns_per_s(held, prompt_tokens, answer_tokens) / answer_tokens

    def alone_s(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Of one call with the replica to itself."""
        return answer_tokens / self.turns_per_s(1, prompt_tokens, answer_tokens)

    def _cost(self, prompt_tokens: float, answer_tokens: float) -> float:
        return self.sequence_s + self.prompt_token_s * prompt_tokens / answer_tokens


@dataclass(frozen=True)
class BatchWait:
    """waits: share of calls that find every place taken. held: mean sequences of a replica. answer_s: mean time of an
    answer once it has a place (Little 1961). beyond_s: percentile of the wait for a place."""

    waits: float
    held: float
    answer_s: float
    utilisation: float
    wait_percentile_s: float


def batch_wait(
    batch: Batch, replicas: int, rate: float, prompt_tokens: float, answer_tokens: float, *, percentile: float
) -> BatchWait:
    """The wait before `replicas` such replicas, calls spread evenly over them.

    A birth-death line with departures replicas * answers_per_s(min(k / replicas, most)). Even spread is the best a
    router can do: a real one is somewhat slower, see docs/capacity.md. The answers' lengths are taken as exponential.
    """
    places = replicas * batch.most
    full = replicas * batch.answers_per_s(batch.most, prompt_tokens, answer_tokens)
    if rate >= full:
        return BatchWait(1.0, batch.most, math.inf, 1.0, math.inf)

    def departure(k: int) -> float:
        held = min(k, places) / replicas
        # Below one each, k of the replicas hold one sequence.
        busy = min(k, replicas)
        return busy * batch.answers_per_s(max(held, 1), prompt_tokens, answer_tokens)

    population: Population = birth_death(rate, departure, settled=places)
    waits = population.at_least(places)
    inside = sum(min(k, places) * share for k, share in enumerate(population.shares))
    # Whoever finds k >= places waits for k - places + 1 departures, at `full` a second: an exponential tail.
    tail_s = 1 / (full - rate)
    beyond = tail_s * math.log(waits / (1 - percentile)) if waits > 1 - percentile else 0.0
    return BatchWait(waits, inside / replicas, inside / rate if rate else math.nan, rate / full, beyond)


def replicas_for(
    batch: Batch,
    rate: float,
    prompt_tokens: float,
    answer_tokens: float,
    *,
    wait_s: float,
    percentile: float,
    utilisation: float,
    token_s: float = math.inf,
) -> int:
    """The fewest replicas whose `percentile` waits at most wait_s, with at most token_s a token on average.

    InvalidInput (`token_s`, `per_s`) where no number of them, or too high a one, does so.
    """
    full = batch.answers_per_s(batch.most, prompt_tokens, answer_tokens)
    if 1 / batch.turns_per_s(1, prompt_tokens, answer_tokens) >= token_s:
        raise InvalidInput("token_s", "one call alone takes as long a token; take a faster GPU or a smaller model")

    def enough(count: int) -> bool:
        found = batch_wait(batch, count, rate, prompt_tokens, answer_tokens, percentile=percentile)
        return found.wait_percentile_s <= wait_s and (rate == 0 or found.answer_s / answer_tokens <= token_s)

    return fewest(rate / full / utilisation, max(1, MOST_PLACES // batch.most), enough)
