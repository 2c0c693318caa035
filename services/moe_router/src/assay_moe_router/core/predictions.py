"""How well a model predicts each sequence of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.models.predict import predict, token_nats
from assay.models.windows import Windows
from assay.progress import Progress
from assay_moe_router.core.statistics import Floats


@dataclass(frozen=True)
class Prediction:
    """Sums over the predicted tokens of each sequence, both [S] float64: nats, and tokens predicted first."""

    nats: Floats
    correct: Floats
    tokens: int

    @property
    def loss(self) -> Floats:
        """Mean nats per token of each sequence."""
        return self.nats / self.tokens

    @property
    def accuracy(self) -> Floats:
        return self.correct / self.tokens


class Advance(Protocol):
    """Told how many sequences were just done, and figures so far."""

    def __call__(self, sequences: int, **figures: float) -> None: ...


def _unheard(sequences: int, **figures: float) -> None:
    """Listens to nothing."""


@torch.inference_mode()
def predictions(
    model: PreTrainedModel,
    windows: Windows,
    batch: int,
    *,
    cancel: CancelToken,
    progress: Advance = _unheard,
) -> Prediction:
    """How well the model predicts each sequence. progress: told the sequences of each batch, and the loss so far."""
    nats, correct, tokens, done, total = [], [], 0, 0, 0.0
    for ids in windows.batches(batch):
        cancel.check()
        output, targets = predict(model, ids)
        each = token_nats(output.logits, targets)
        nats.append(each.double().sum(dim=1))
        correct.append((output.logits.argmax(dim=-1) == targets).double().sum(dim=1))
        tokens = targets.shape[1]
        done += targets.numel()
        total += float(nats[-1].sum())
        progress(len(ids), loss_nats=total / done)
    return Prediction(torch.cat(nats).numpy(), torch.cat(correct).numpy(), tokens)


def counted(total: int, progress: Progress) -> Advance:
    """Turns sequences done by batch into progress towards `total`."""
    done = 0

    def advance(sequences: int, **figures: float) -> None:
        nonlocal done
        done += sequences
        progress(done, total, "sequences", **figures)

    return advance
