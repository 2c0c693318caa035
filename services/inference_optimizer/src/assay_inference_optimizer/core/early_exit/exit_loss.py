"""Training so that early layers answer, too: the loss of exits under the shared head (LayerSkip, arXiv:2404.16710)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel

from assay.models.predict import token_nats
from assay_inference_optimizer.core.early_exit.logit_lens import caught_residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of


def exit_loss(model: PreTrainedModel, windows: Tensor, weights: Mapping[int, float]) -> tuple[Tensor, Tensor]:
    """(loss to minimise, mean nats of the last layer), scalars.

    windows: [B, T] int64; every next token is predicted. weights: exit layer to the weight of its cross-entropy,
    against 1 for the last layer; empty trains as usual.
    """
    hidden = caught_residuals(model, windows[:, :-1])
    parts, targets = parts_of(model), windows[:, 1:]
    last: Tensor = token_nats(parts.logits(hidden[-1]), targets).mean()
    loss = last
    for layer, weight in weights.items():
        loss = loss + weight * token_nats(parts.logits(hidden[parts.check_exit(layer)]), targets).mean()
    return loss, last
