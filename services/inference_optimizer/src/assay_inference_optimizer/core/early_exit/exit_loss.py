"""Training so that early layers answer, too: the loss of exits under the shared head (LayerSkip, arXiv:2404.16710)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel

from assay.models.predict import token_nats
from assay_inference_optimizer.core.early_exit.logit_lens import caught_residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of


def exit_loss(
    model: PreTrainedModel, windows: Tensor, exit_layers: Sequence[int], share: float
) -> tuple[Tensor, Tensor]:
    """(loss to minimise, mean nats of the last layer), scalars.

    windows: [B, T] int64; every next token is predicted. share: weight of all exits together against 1 for the last
    layer, growing with depth (layer l counts l / sum of exits), as late answers matter more. 0 trains as usual.
    """
    hidden = caught_residuals(model, windows[:, :-1])
    parts, targets = parts_of(model), windows[:, 1:]
    last: Tensor = token_nats(parts.logits(hidden[-1]), targets).mean()
    if not share:
        return last, last
    total = sum(exit_layers)
    early = sum(token_nats(parts.logits(hidden[layer]), targets).mean() * (layer / total) for layer in exit_layers)
    return last + share * early, last
