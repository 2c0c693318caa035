"""A cloze task: which of four continuations belongs to a passage?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.models.predict import predict, token_nats
from assay_moe_router.core.statistics import Floats
from assay_moe_router.core.text_batches import Windows

CHOICES = 4


@torch.inference_mode()
def cloze_accuracy(
    model: PreTrainedModel,
    windows: Windows,
    *,
    continuation_tokens: int = 8,
    batch: int = 8,
    seed: int = 0,
    cancel: CancelToken,
) -> Floats:
    """1 where the model finds the true end of a sequence likelier than three ends of other sequences, else 0; [S].

    The wrong ends are drawn from the same split with `seed`, are as long, and stand at the same place. Guessing
    gives 0.25.
    """
    ids, count = windows.ids, windows.sequences
    random = np.random.default_rng(seed)
    likelihoods: Floats = np.empty((count, CHOICES))
    for choice in range(CHOICES):
        others = np.arange(count) if choice == 0 else _others(count, random)
        candidates = ids.clone()
        candidates[:, -continuation_tokens:] = ids[others, -continuation_tokens:]
        for start in range(0, count, batch):
            cancel.check()
            output, targets = predict(model, candidates[start : start + batch])
            nats = token_nats(output.logits, targets)[:, -continuation_tokens:]
            likelihoods[start : start + batch, choice] = -nats.double().sum(dim=1).numpy()
    # A tie is no recognition: the true end must be likelier than every other.
    hits: Floats = np.all(likelihoods[:, :1] > likelihoods[:, 1:], axis=1).astype(np.float64)
    return hits


def _others(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A random other sequence for each."""
    others: NDArray[np.int64] = (np.arange(count) + random.integers(1, count, count)) % count
    return others
