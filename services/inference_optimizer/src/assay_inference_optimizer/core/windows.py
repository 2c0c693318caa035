"""Text as windows of tokens: what every measurement runs on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.errors import InvalidInput, ResourceExhausted

MAX_TOKENS = 20_000_000


def cut_windows(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    sequences: int,
    sequence_tokens: int,
    cancel: CancelToken,
) -> Tensor:
    """[S, T] int64: windows of `sequence_tokens` tokens without overlap, spread evenly over the texts, no padding.

    Texts are joined by the end mark where the tokenizer has one. sequences: as many, or all there are where fewer.
    InvalidInput where not one window is filled, ResourceExhausted for more than MAX_TOKENS in all.
    """
    if sequences < 1 or sequence_tokens < 2:
        raise InvalidInput("text.sequences, text.sequence_tokens", "must be at least 1 and 2")
    if sequences * sequence_tokens > MAX_TOKENS:
        raise ResourceExhausted(
            f"text.sequences: {sequences} of {sequence_tokens} tokens are above {MAX_TOKENS} in all; take fewer",
            reason="TEXT_TOO_LARGE",
        )
    end = tokenizer.eos_token_id
    ids = array("q")
    for number, text in enumerate(texts):
        cancel.check()
        if len(ids) >= MAX_TOKENS:
            break
        if number and end is not None:
            ids.append(int(end))
        ids.extend(tokenizer.encode(text, add_special_tokens=False))
    there = len(ids) // sequence_tokens
    if there < 1:
        raise InvalidInput(
            "text", f"has {len(ids)} tokens, which fill no window of {sequence_tokens}; give more, or ask for less"
        )
    windows = torch.tensor(ids[: there * sequence_tokens], dtype=torch.int64).view(there, sequence_tokens)
    chosen = min(sequences, there)
    return windows[torch.arange(chosen) * there // chosen]
