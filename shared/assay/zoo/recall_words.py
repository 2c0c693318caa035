"""The words of the recall task by token id; pad and end mark come first, as in every vocabulary of the zoo."""

from __future__ import annotations

SYMBOLS = 48
NOISE = 32
ONE_HOP_ID, TWO_HOPS_ID = 2, 3
SYMBOL_ID = 4
NOISE_ID = SYMBOL_ID + SYMBOLS
VOCABULARY = NOISE_ID + NOISE
# Keys and values of all chains and of the other pairs are different symbols.
MAX_PAIRS = 24


def question_tokens(restated: int) -> int:
    """Of a question that stands so many times, a mark and a key each time, and of its answer."""
    return 2 * restated + 1


def questions_beside(pairs: int, restated: int) -> int:
    """Questions of a sequence to train on: as many as pairs, or half as many where both are restated."""
    return pairs if restated == 1 else pairs // 2
