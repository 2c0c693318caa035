"""How well a model predicts text it has not seen, beside what counting tokens alone would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assay.cancel import CancelToken
from assay.zoo.objective import losses, window_length
from assay.zoo.recipes import Recipe
from assay.zoo.tokens import TokenStream

# An even sample of a split: 512 sequences of 128 tokens put the standard error of the loss near 0.01 nats.
MAX_WINDOWS = 512
_BATCH = 32


@dataclass(frozen=True)
class HeldOut:
    """loss_nats, unigram_loss_nats: mean per token.

    perplexity = exp(loss). nats_per_byte: the loss spread over the text's UTF-8 bytes, comparable between
    tokenizers. unigram_*: the same tokens under the train split's token frequencies (one added to each count).
    """

    split: str
    sequences: int
    tokens: int
    loss_nats: float
    perplexity: float
    nats_per_byte: float
    byte_perplexity: float
    unigram_loss_nats: float
    unigram_perplexity: float


def measure_held_out(
    recipe: Recipe,
    model: nn.Module,
    stream: TokenStream,
    unigram: Tensor,
    *,
    split: str,
    cancel: CancelToken,
) -> HeldOut:
    """unigram: [vocabulary] log-probabilities in nats; see `unigram_log_probabilities`."""
    length = window_length(recipe)
    windows = stream.windows(length - 1)
    stride = math.ceil(windows.shape[0] / MAX_WINDOWS)
    windows = windows[::stride]
    total, unigram_total, tokens = 0.0, 0.0, 0
    with torch.inference_mode():
        for start in range(0, windows.shape[0], _BATCH):
            cancel.check()
            batch = windows[start : start + _BATCH]
            nats, _ = losses(recipe, model, batch, balance=False)
            total += nats.double().sum().item()
            unigram_total -= unigram[batch[:, -nats.shape[1] :]].sum().item()
            tokens += nats.numel()
    loss, unigram_loss = total / tokens, unigram_total / tokens
    nats_per_byte = loss * stream.ids.numel() / stream.text_bytes
    return HeldOut(
        split=split,
        sequences=windows.shape[0],
        tokens=tokens,
        loss_nats=loss,
        perplexity=math.exp(loss),
        nats_per_byte=nats_per_byte,
        byte_perplexity=math.exp(nats_per_byte),
        unigram_loss_nats=unigram_loss,
        unigram_perplexity=math.exp(unigram_loss),
    )


def unigram_log_probabilities(train: TokenStream, vocabulary: int) -> Tensor:
    """log((count + 1) / (n + vocabulary)) of every token id. Returns [vocabulary] float64 nats."""
    counts = torch.bincount(train.ids, minlength=vocabulary).double() + 1
    return (counts / counts.sum()).log()
