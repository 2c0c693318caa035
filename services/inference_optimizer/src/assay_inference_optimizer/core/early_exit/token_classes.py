"""What kind of token a model is about to say: some kinds are known layers earlier than others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

NAMES = ("whitespace", "punctuation", "digit", "word start", "word continuation", "other")


@dataclass(frozen=True)
class TokenClasses:
    """of: [V] int8, index into names. A token counts as its first visible character; pieces are judged alone.

    A word start is a piece that begins with a space and a letter or underscore; a piece that begins with the letter
    itself is a continuation, though it may follow a bracket. other: special tokens and pieces of a character.
    """

    names: tuple[str, ...]
    of: NDArray[np.int8]


def token_classes(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> TokenClasses:
    """vocabulary: V of the model's head, which may be padded beyond the tokenizer's."""
    known = min(vocabulary, len(tokenizer))
    special = set(tokenizer.all_special_ids)
    classes = np.full(vocabulary, NAMES.index("other"), dtype=np.int8)
    for index, text in enumerate(tokenizer.batch_decode([[index] for index in range(known)])):
        if index not in special:
            classes[index] = NAMES.index(_name(text))
    return TokenClasses(NAMES, classes)


def one_class(vocabulary: int) -> TokenClasses:
    """All tokens alike, for a model without a tokenizer."""
    return TokenClasses(("all",), np.zeros(vocabulary, dtype=np.int8))


def _name(text: str) -> str:
    visible = text.strip()
    if not visible:
        return "whitespace" if text else "other"
    first = visible[0]
    if first.isdigit():
        return "digit"
    if first.isalpha() or first == "_":
        return "word start" if text[0].isspace() else "word continuation"
    return "other" if first == "\N{REPLACEMENT CHARACTER}" else "punctuation"
