"""How well a model predicts text it has not seen, beside what counting tokens alone would give."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from assay.cancel import CancelToken
from assay.zoo.batches import Batches
from assay.zoo.objective import losses, window_length
from assay.zoo.recipe import Recipe
from assay.zoo.repeats import repeats_batch
from assay.zoo.tokens import TokenStream

# An even sample of a split: 512 sequences of 128 tokens put the standard error of the loss near 0.01 nats.
MAX_WINDOWS = 512
REPEATS_SEQUENCES = 64
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """loss_nats, unigram_loss_nats: mean per token.

    perplexity = exp(loss). nats_per_byte: the loss spread over the text's UTF-8 bytes, comparable between
    tokenizers. unigram_*: the same tokens under the train split's token frequencies (one added to each count).
    repeated_loss_nats: mean over what a passage that stood there before repeats; None where nothing does so.
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
    repeated_loss_nats: float | None = None


def measure_held_out(
    recipe: Recipe,
    model: nn.Module,
    stream: TokenStream,
    unigram: Tensor,
    *,
    split: str,
    cancel: CancelToken,
) -> HeldOut:
    """On an even sample of a split's windows.

    unigram: [vocabulary] log-probabilities in nats; see `unigram_log_probabilities`.
    """
    length = window_length(recipe)
    windows = stream.windows(length - 1)
    stride = math.ceil(windows.shape[0] / MAX_WINDOWS)
    windows = windows[::stride]
    nats = _nats(recipe, model, windows, cancel)
    return _held_out(windows, nats, stream, unigram, split)


def measure_repeats(
    recipe: Recipe, model: nn.Module, batches: Batches, unigram: Tensor, *, split: str, cancel: CancelToken
) -> HeldOut:
    """On REPEATS_SEQUENCES sequences of a split's passages with repeats, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    drawn = repeats_batch(batches.passages, REPEATS_SEQUENCES, window_length(recipe), generator)
    nats = _nats(recipe, model, drawn.ids, cancel)
    repeated = nats[drawn.repeated[:, 1:]].double().mean().item()
    return replace(_held_out(drawn.ids, nats, batches.stream, unigram, split), repeated_loss_nats=repeated)


def _nats(recipe: Recipe, model: nn.Module, windows: Tensor, cancel: CancelToken) -> Tensor:
    """[n, predicted] float32."""
    parts = []
    batch = max(1, _BATCH_TOKENS // windows.shape[1])
    with torch.inference_mode():
        for start in range(0, windows.shape[0], batch):
            cancel.check()
            parts.append(losses(recipe, model, windows[start : start + batch], balance=False)[0])
    return torch.cat(parts)


def _held_out(windows: Tensor, nats: Tensor, stream: TokenStream, unigram: Tensor, split: str) -> HeldOut:
    loss = nats.double().mean().item()
    unigram_loss = -unigram[windows[:, -nats.shape[1] :]].mean().item()
    nats_per_byte = loss * stream.ids.numel() / stream.text_bytes
    return HeldOut(
        split=split,
        sequences=windows.shape[0],
        tokens=nats.numel(),
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
