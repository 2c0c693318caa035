"""Whether a model answers a task: by the first word it would write, and by how likely the right word is.

Both come from one forward pass over prompt and word, since greedy decoding writes the word exactly where each of its
tokens is the likeliest at its place and the token after them begins something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.sensitivity.tasks.item import Item

BATCH = 64


@dataclass(frozen=True)
class Answers:
    """By item, [n]: first_word: the answer is what greedy decoding writes first. answer_nats, foil_nats: log-
    probability of the whole word, float64; likelier: the answer's is the higher one.
    """

    first_word: NDArray[np.bool_]
    answer_nats: NDArray[np.float64]
    foil_nats: NDArray[np.float64]

    @property
    def likelier(self) -> NDArray[np.bool_]:
        return self.answer_nats > self.foil_nats


@dataclass(frozen=True)
class Continuation:
    """ids: prompt and word, the begin mark first where the tokenizer has one. start: of the word in them."""

    ids: list[int]
    start: int


class Asked:
    """Items tokenised once, to be answered by one model in several states. InvalidInput for none."""

    def __init__(self, items: Sequence[Item], tokenizer: PreTrainedTokenizerBase) -> None:
        if not items:
            raise InvalidInput("items", "are none; give at least one")
        self.items = tuple(items)
        self._answers = [continuation(item.prompt, item.answer, tokenizer) for item in items]
        self._foils = [continuation(item.prompt, item.foil, tokenizer) for item in items]
        self._continues = _continues_a_word(tokenizer)

    @torch.inference_mode()
    def answers(self, model: PreTrainedModel, *, cancel: CancelToken) -> Answers:
        """Raises Cancelled between batches. Right padding is never attended to by a causal model: hence no mask."""
        count = len(self.items)
        first, nats, foils = np.zeros(count, dtype=bool), np.zeros(count), np.full(count, np.nan)
        for chosen, logits in _passes(model, self._answers, range(count), cancel):
            for index, row in zip(chosen, logits, strict=True):
                first[index], nats[index], foils[index] = self._read(row, index)
        for chosen, logits in _passes(model, self._foils, np.flatnonzero(np.isnan(foils)).tolist(), cancel):
            for index, row in zip(chosen, logits, strict=True):
                foils[index] = _word_nats(row, self._foils[index])
        return Answers(first, nats, foils)

    def _read(self, logits: Tensor, index: int) -> tuple[bool, float, float]:
        """(first word is the answer, answer's nats, foil's nats or NaN where it takes a pass of its own)."""
        answer, foil = self._answers[index], self._foils[index]
        word = answer.ids[answer.start :]
        likeliest = logits.argmax(-1).tolist()
        first = likeliest[:-1] == word and not bool(self._continues[likeliest[-1]])
        foil_nats = float("nan")
        if len(foil.ids) == foil.start + 1 and foil.ids[: foil.start] == answer.ids[: answer.start]:
            foil_nats = float(logits[0].double().log_softmax(-1)[foil.ids[-1]])
        return first, _word_nats(logits, answer), foil_nats


def continuation(prompt: str, word: str, tokenizer: PreTrainedTokenizerBase) -> Continuation:
    """`prompt`, a space and `word` as the tokenizer cuts them together; the word begins where the two cuts part."""
    alone = encoded(prompt, tokenizer)
    both = encoded(f"{prompt} {word}", tokenizer)
    start = next((at for at, pair in enumerate(zip(alone, both, strict=False)) if pair[0] != pair[1]), len(alone))
    if not 0 < start < len(both):
        raise InvalidInput("items", f"cannot be cut into prompt and {word!r}; use a tokenizer that marks spaces")
    return Continuation(both, start)


def encoded(text: str, tokenizer: Any) -> list[int]:
    """Token ids, the begin mark first where the tokenizer has one and no other special token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    begin = tokenizer.bos_token_id
    return ids if begin is None else [begin, *ids]


def _passes(
    model: PreTrainedModel, all_words: Sequence[Continuation], which: Sequence[int], cancel: CancelToken
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """(indices, logits of each [tokens of the word + 1, V] float32: before its first token to after its last).

    In order of where the words begin, so that the head is asked for little more than the words of a batch.
    """
    order = sorted(which, key=lambda index: all_words[index].start)
    for begin in range(0, len(order), BATCH):
        cancel.check()
        chosen = order[begin : begin + BATCH]
        words = [all_words[index] for index in chosen]
        ids = torch.zeros((len(words), max(len(word.ids) for word in words)), dtype=torch.int64)
        for number, word in enumerate(words):
            ids[number, : len(word.ids)] = torch.tensor(word.ids)
        low = words[0].start - 1
        output = model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=ids.shape[1] - low)
        logits = output.logits.float().cpu()
        yield chosen, [row[word.start - 1 - low : len(word.ids) - low] for row, word in zip(logits, words, strict=True)]


def _word_nats(logits: Tensor, word: Continuation) -> float:
    chosen = torch.tensor(word.ids[word.start :])
    return float(logits[: len(chosen)].double().log_softmax(-1)[torch.arange(len(chosen)), chosen].sum())


def _continues_a_word(tokenizer: Any) -> NDArray[np.bool_]:
    """By token id: does its text begin with a letter or digit, and no space? Such a token would prolong the word."""
    texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([bool(text) and (text[0].isalnum() and text[0] not in "ĠĊ") for text in texts])
