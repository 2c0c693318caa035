"""Key-value recall over one hop and over two: answers stand far back, so that attention must find them.

A sequence is noise in which pairs `key value` are scattered evenly, then questions:

    n7 n3 s40 s5 n1 ... s12 s40 n9 ... s31 s8 n2 ...  ?1 s31 s8  ?2 s12 s5  ...

`?1 key` asks for the key's value. The pairs are chained by twos, `s12 s40` to `s40 s5`, and `?2 key` asks for the value
of the key's value. The pair that a chain ends with stands first, as terms are defined before they are used: in either
order, two hops take some seeds over three times the steps. Which pair a question needs, and where it stands, is drawn
anew for every sequence: guessing among its values is right once in as many times, and a window of the last tenth holds
a tenth of the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.errors import InvalidInput
from assay.zoo.recall_words import (
    MAX_PAIRS,
    NOISE,
    NOISE_ID,
    ONE_HOP_ID,
    SYMBOL_ID,
    SYMBOLS,
    TWO_HOPS_ID,
    question_tokens,
    questions_beside,
)
from assay.zoo.tokenizer import END, END_ID, PAD, PAD_ID


@dataclass(frozen=True)
class RecallBatch:
    """ids: [B, T] int64. answers: [B, T - 1] bool, which of the predicted tokens (all but the first) are answers."""

    ids: Tensor
    answers: Tensor


@dataclass(frozen=True)
class RecallQuestions:
    """prompts: [n, T] int64, each ending with a question; answers: [n] int64, the token that comes next.

    hops: [n] int64, 1 or 2. needed: [n, 2] int64, where the keys of the needed pairs first stand; the second is -1 with
    one hop. question_tokens: of the question that each prompt ends with.
    """

    prompts: Tensor
    answers: Tensor
    hops: Tensor
    needed: Tensor
    question_tokens: int

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class _Pairs:
    """keys, values, positions: [B, pairs]; the first `chains` keys lead, over the next `chains`, to `ends`."""

    keys: Tensor
    values: Tensor
    positions: Tensor
    chains: int
    ends: Tensor


def recall_batch(
    batch: int, pairs: int, tokens: int, generator: torch.Generator, *, hops: int = 2, restated: int = 1
) -> RecallBatch:
    """Sequences to train on: about as many questions as pairs, half of them over two hops, none asked twice.

    A question asked again would be answered by copying the earlier answer. hops: 1 for questions over one hop alone.
    restated: as in `recall_questions`; above 1 there are half as many questions, to leave room for the pairs.
    Raises InvalidInput for a number of pairs that symbols or `tokens` do not allow.
    """
    asked = questions_beside(pairs, restated)
    two_hops = asked // 2 if hops == 2 else 0
    one_hop = asked - two_hops
    ids, drawn = _scatter(batch, pairs, tokens, asked, generator, chained=hops == 2, restated=restated)
    # Columns of `index`: which pair is asked for over one hop, then which chain over two.
    index = torch.cat(
        [
            _permutations(batch, pairs, one_hop, generator),
            _permutations(batch, drawn.chains, two_hops, generator),
        ],
        1,
    )
    far = (torch.arange(asked) >= one_hop).expand(batch, asked)
    order = torch.rand(batch, asked, generator=generator).argsort(1)
    index, far = index.gather(1, order), far.gather(1, order)
    keys, answers = _ask(drawn, index, far)
    marks = torch.where(far, TWO_HOPS_ID, ONE_HOP_ID)
    questions = torch.cat([torch.stack([marks, keys], -1).repeat(1, 1, restated), answers[..., None]], -1)
    ids[:, tokens - questions[0].numel() :] = questions.flatten(1)
    is_answer = torch.zeros(batch, tokens, dtype=torch.bool)
    is_answer[:, range(tokens - 1, tokens - 1 - questions[0].numel(), -question_tokens(restated))] = True
    return RecallBatch(ids, is_answer[:, 1:])


def recall_questions(
    count: int, pairs: int, tokens: int, seed: int, *, per_context: int = 1, restated: int = 1
) -> RecallQuestions:
    """`count` prompts of `tokens` tokens with one question each, by turns over one hop and over two; a pure function.

    tokens: the question's included. per_context: so many prompts after one another are the same but for their
    questions. restated: times that each pair stands, one right after the other, and the question too: what a block is
    about, not one word of it. Raises InvalidInput like `recall_batch`, and where `count` is no multiple of
    `per_context`.
    """
    if per_context < 1 or count % per_context:
        raise InvalidInput("count", f"is {count}; give a multiple of per_context, {per_context}")
    generator = torch.Generator().manual_seed(seed)
    ids, drawn = _scatter(count // per_context, pairs, tokens + 1, 1, generator, chained=True, restated=restated)
    rows = torch.arange(count) // per_context
    ids = ids[rows]
    drawn = _Pairs(drawn.keys[rows], drawn.values[rows], drawn.positions[rows], drawn.chains, drawn.ends[rows])
    far = torch.arange(count)[:, None] % 2 == 1
    one = torch.randint(pairs, (count, 1), generator=generator)
    index = torch.where(far, torch.randint(drawn.chains, (count, 1), generator=generator), one)
    keys, answers = _ask(drawn, index, far)
    question = torch.cat([torch.where(far, TWO_HOPS_ID, ONE_HOP_ID), keys], 1).repeat(1, restated)
    ids[:, -1 - question.shape[1] : -1] = question
    second = drawn.positions.gather(1, (index + drawn.chains).clamp(max=pairs - 1))
    needed = torch.cat([drawn.positions.gather(1, index), torch.where(far, second, -1)], 1)
    return RecallQuestions(ids[:, :-1], answers[:, 0], torch.where(far[:, 0], 2, 1), needed, question.shape[1])


def recall_tokenizer() -> Any:
    """A `PreTrainedTokenizerFast` of the task's words, separated by blanks: `s0` to `s47`, `n0` to `n31`, `?1`, `?2`.

    An unknown word is read as noise.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [PAD, END, "?1", "?2", *(f"s{i}" for i in range(SYMBOLS)), *(f"n{i}" for i in range(NOISE))]
    assert (words[PAD_ID], words[END_ID]) == (PAD, END)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="n0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=END, eos_token=END, padding_side="left"
    )


def _scatter(
    batch: int,
    pairs: int,
    tokens: int,
    asked: int,
    generator: torch.Generator,
    *,
    chained: bool,
    restated: int = 1,
) -> tuple[Tensor, _Pairs]:
    """Noise [B, tokens] with the pairs in what the questions leave free, one anywhere in each of equal stretches."""
    if not 2 <= pairs <= MAX_PAIRS:
        raise InvalidInput("pairs", f"are {pairs}; give 2 to {MAX_PAIRS}")
    questions = question_tokens(restated) * asked
    stretch = (tokens - questions) // pairs
    if stretch < 2 * restated:
        least = 2 * restated * pairs + questions
        raise InvalidInput("sequence_length", f"is too short for {pairs} pairs; give {least} or more")
    chains = pairs // 2 if chained else 0
    others = pairs - 2 * chains
    symbols = SYMBOL_ID + _permutations(batch, SYMBOLS, None, generator)
    first, middle, ends, keys, values, _ = symbols.split(
        [chains, chains, chains, others, others, SYMBOLS - 3 * chains - 2 * others], dim=1
    )
    keys, values = torch.cat([first, middle, keys], 1), torch.cat([middle, ends, values], 1)
    offsets = torch.randint(stretch - 2 * restated + 1, (batch, pairs), generator=generator)
    positions = _permutations(batch, pairs, None, generator) * stretch + offsets
    links, onward = positions[:, :chains], positions[:, chains : 2 * chains]
    positions = torch.cat([links.maximum(onward), links.minimum(onward), positions[:, 2 * chains :]], 1)
    ids = NOISE_ID + torch.randint(NOISE, (batch, tokens), generator=generator)
    rows = torch.arange(batch)[:, None]
    for again in range(0, 2 * restated, 2):
        ids[rows, positions + again], ids[rows, positions + again + 1] = keys, values
    return ids, _Pairs(keys, values, positions, chains, ends)


def _ask(drawn: _Pairs, index: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """(keys, answers) of the questions `index` [B, Q], of which those `far` go over two hops."""
    near = drawn.values.gather(1, index)
    ends = drawn.ends if drawn.chains else drawn.values
    over_two = ends.gather(1, index.clamp(max=ends.shape[1] - 1))
    return drawn.keys.gather(1, index), torch.where(far, over_two, near)


def _permutations(batch: int, count: int, kept: int | None, generator: torch.Generator) -> Tensor:
    """The first `kept` (None: all) of 0..count-1 in an order drawn for each row, [B, kept]."""
    return torch.rand(batch, count, generator=generator).argsort(1)[:, :kept]
