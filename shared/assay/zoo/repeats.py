"""Text whose far context is worth something: passages that come back after a long gap, and may then be copied.

Ordinary text of this length says little about itself beyond the last hundred tokens, so that a plain window loses
nothing on it. Here a passage, mostly a function, stands once and, with even odds, once more at least a quarter of the
sequence later, other passages between. Also: random tokens and their repetition, from which copying is learned soonest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Tokens of one passage; a longer one is cut. Sparse attention chooses blocks by their means, so what comes back has to
# fill one: 31 tokens hold a whole block of 16 wherever they begin, and 97 % of the standard library's passages are as
# long in a vocabulary of 1024, half of them 80 or longer.
MAX_PASSAGE_TOKENS = 96
# A repeat begins at least this share of the sequence after the passage it repeats.
MIN_GAP_SHARE = 0.25
REPEAT_ODDS = 0.5
# Nobody can tell that a passage is coming back before it has begun to.
RECOGNISED_AFTER = 4


@dataclass(frozen=True)
class RepeatsBatch:
    """ids: [B, T] int64. repeated: [B, T] bool, tokens whose passage stood there before, but for its first ones."""

    ids: Tensor
    repeated: Tensor


def repeats_batch(passages: list[list[int]], batch: int, tokens: int, generator: torch.Generator) -> RepeatsBatch:
    """`batch` sequences of `tokens` tokens of `passages`, shuffled, with repeats; a pure function of the generator."""
    rows = [_sequence(passages, tokens, generator) for _ in range(batch)]
    return RepeatsBatch(torch.tensor([ids for ids, _ in rows]), torch.tensor([repeated for _, repeated in rows]))


def copies_batch(
    batch: int, tokens: int, first_id: int, vocabulary: int, generator: torch.Generator, *, skew: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Different random tokens, then the same again from a random one of them on, round and round.

    Where the second half begins is the sequence's own, so that copying needs the tokens and not a fixed distance.
    skew: the token of rank r, counted from `first_id`, is drawn with odds of 1 / r^skew; 0: all with the same.
    Returns ids [batch, tokens], drawn from `first_id` to `vocabulary` - 1, and which of the predicted tokens
    [batch, tokens - 1] can be known.
    """
    half = min((tokens + 1) // 2, vocabulary - first_id)
    drawn = first_id + _distinct(batch, vocabulary - first_id, half, skew, generator)
    shift = torch.randint(half, (batch, 1), generator=generator)
    again = (torch.arange(tokens - half) + shift) % half
    ids = torch.cat([drawn, drawn.gather(1, again)], 1)
    known = torch.zeros(batch, tokens, dtype=torch.bool)
    known[:, half + 1 :] = True
    return ids, known[:, 1:]


def _distinct(batch: int, count: int, drawn: int, skew: float, generator: torch.Generator) -> Tensor:
    """[batch, drawn] different numbers below `count`, in random order."""
    keys = torch.rand(batch, count, generator=generator)
    if not skew:
        return keys.argsort(1)[:, :drawn]
    # The first arrivals of waiting times, each with its own rate, are a weighted draw without replacement.
    rates = torch.arange(1, count + 1, dtype=torch.float32) ** -skew
    first = (-keys.log() / rates).topk(drawn, 1, largest=False).indices
    return first.gather(1, torch.rand(batch, drawn, generator=generator).argsort(1))


def _sequence(passages: list[list[int]], tokens: int, generator: torch.Generator) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    repeated: list[bool] = []
    waiting: list[tuple[int, list[int]]] = []  # where each passage began that has not come back yet
    gap = int(tokens * MIN_GAP_SHARE)
    while len(ids) < tokens:
        far = [index for index, (start, _) in enumerate(waiting) if start + gap <= len(ids)]
        if far and torch.rand((), generator=generator) < REPEAT_ODDS:
            _, passage = waiting.pop(far[_draw(len(far), generator)])
            repeated += [index >= RECOGNISED_AFTER for index in range(len(passage))]
        else:
            passage = passages[_draw(len(passages), generator)][:MAX_PASSAGE_TOKENS]
            waiting.append((len(ids), passage))
            repeated += [False] * len(passage)
        ids += passage
    return ids[:tokens], repeated[:tokens]


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
