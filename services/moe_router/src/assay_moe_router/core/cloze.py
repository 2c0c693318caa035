"""A cloze task: which of four continuations belongs to a passage?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.predict import predict, token_nats
from assay.models.windows import Windows
from assay_moe_router.core.statistics import Floats

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

    The wrong ends are those of three different sequences, drawn from the same split with `seed`; they are as long, and
    stand at the same place. Guessing gives 0.25. Raises InvalidInput for fewer than four sequences, and for ends that
    leave nothing to continue.
    """
    ids, count = windows.ids, windows.sequences
    if count < CHOICES:
        raise InvalidInput("text.sequences", f"is {count}; a cloze task needs at least {CHOICES}")
    longest = ids.shape[1] // 2
    if not 1 <= continuation_tokens <= longest:
        raise InvalidInput("continuation_tokens", f"is {continuation_tokens}; give 1 to {longest}, half a sequence")
    ends = _ends(count, np.random.default_rng(seed))
    likelihoods: Floats = np.empty((count, CHOICES))
    for choice in range(CHOICES):
        candidates = ids.clone()
        candidates[:, -continuation_tokens:] = ids[ends[choice], -continuation_tokens:]
        for start in range(0, count, batch):
            cancel.check()
            output, targets = predict(model, candidates[start : start + batch])
            nats = token_nats(output.logits, targets)[:, -continuation_tokens:]
            likelihoods[start : start + batch, choice] = -nats.double().sum(dim=1).numpy()
    # A tie is no recognition: the true end must be likelier than every other.
    hits: Floats = np.all(likelihoods[:, :1] > likelihoods[:, 1:], axis=1).astype(np.float64)
    return hits


def _ends(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """[CHOICES, count] each sequence's own number, then those of different other ones."""
    ends = np.empty((CHOICES, count), dtype=np.int64)
    ends[0] = np.arange(count)
    for sequence in range(count):
        ends[1:, sequence] = (sequence + 1 + random.choice(count - 1, CHOICES - 1, replace=False)) % count
    return ends
